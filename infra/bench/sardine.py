"""`rheostat bench tradeoff --env …`: the policy's code in an environment that is not ours, SARDINE.

Deffayet et al. 2023, "SARDINE: a simulator for automated recommendation in dynamic and interactive environments"
(package `sardine-rec`): slates of 10 of 1,000 items, clicks by position, shoppers who tire of a topic and then click
nothing for a while. An episode is a shopper. What is known of it is what it was shown and clicked, and the items'
vectors: their content, and their category, which is the largest coordinate. In place of a model of sessions stands
`infra.bench.content_interest`; features, scoring, draw, attribution and what is learnt are the jobs' own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from features import shopper
from features.errors import NoEnvironmentError
from features.extraction import extract_row
from features.interaction import Interaction, Kind
from features.spec import CONTENT_DIM
from infra.bench.content_interest import ContentInterest
from infra.local.steps import Steps
from streaming.control.catalogue import Catalogue, unknown_to_any_model
from streaming.control.item_estimates import EstimateTable
from streaming.io.feed import to_message
from streaming.policy.objectives import LOGIT_AT_MOST
from streaming.policy.table import PolicyTable
from streaming.schemas import Fallback, Impression, Item, Origin, Policy, Recommendation, SlateItem
from streaming.scoring.candidates import Candidates
from streaming.scoring.slate import SlateRequest, draw_slate
from streaming.testing import FeedbackLoop

ENVIRONMENTS = "SlateTopK-Bored-v0", "SlateTopK-BoredInf-v0", "SlateTopK-Uncertain-v0"
START_MS, STEP_MS = 1_700_000_000_000, 200_000  # between two slates of a shopper
MODEL_VERSION = "taste"
SATIATION = {"weight": 0.4, "half_life_s": 600.0}
POLICIES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "diversity alone": {"diversity": 0.3},
    "Rheostat": {"satiation": SATIATION},
}
OURS = "Rheostat"


class Clicks(NamedTuple):
    mean: float
    standard_error: float


def measure(env: str, episodes: int, console: Console, first_seed: int = 0) -> dict[str, Any]:
    """Return the clicks of an episode, over the seeds from `first_seed` on, under each policy and beside the reference.

    Raises:
        NoEnvironmentError: there is no such environment, or no package of it.
    """
    seeds = range(first_seed, first_seed + episodes)
    ways: dict[str, Callable[[Any], Any]] = {
        "random": _Random,
        **{name: partial(_Shop, policy=fields) for name, fields in POLICIES.items()},
        "short-term oracle": _Oracle,
    }
    clicks_of: dict[str, Clicks] = {}
    with Steps(console) as steps, steps.step(f"{env} is played in every way") as progress:
        for name, way in ways.items():
            world = _made(env)
            agent = way(world.unwrapped)
            clicks = []
            for seed in seeds:
                clicks.append(_episode(world, agent, seed))
                progress(f"{name}, {len(clicks)} of {episodes} episodes")
            of_all = np.array(clicks)
            clicks_of[name] = Clicks(float(of_all.mean()), float(of_all.std(ddof=1) / len(of_all) ** 0.5))
    table = Table("way", "clicks an episode", title=f"{env}, {episodes} episodes, seeds from {first_seed}")
    for name, of_way in clicks_of.items():
        table.add_row(name, f"{of_way.mean:.1f} ± {of_way.standard_error:.1f}")
    console.print(table)
    ours = clicks_of[OURS]
    return {
        "env": env,
        "episodes": episodes,
        "clicks": round(ours.mean, 2),
        "standard_error": round(ours.standard_error, 2),
        "ways": {name: {"clicks": round(m, 2), "standard_error": round(e, 2)} for name, (m, e) in clicks_of.items()},
    }


def _made(env: str) -> Any:
    try:
        import gymnasium
        import sardine
    except ModuleNotFoundError as error:
        msg = f"{error}; it comes with the extra `dev`: make setup"
        raise NoEnvironmentError(msg) from error
    try:
        return gymnasium.make(f"sardine/{env}", disable_env_checker=True)
    except gymnasium.error.Error as error:
        known = sorted(name.removeprefix("sardine/") for name in gymnasium.registry if name.startswith("sardine/"))
        msg = f"there is no environment {env} in sardine-rec {sardine.__version__}; it has {', '.join(known)}"
        raise NoEnvironmentError(msg) from error


def _episode(world: Any, agent: Any, seed: int) -> float:
    observed, _ = world.reset(seed=seed)
    agent.meet(seed, observed["slate"], observed["clicks"].astype(bool))
    total, done = 0.0, False
    while not done:
        observed, clicks, done, _, info = world.step(agent.slate())
        total += float(clicks)
        agent.see(info["slate"], observed["clicks"].astype(bool))
    return total


class _Random:
    """Slates of items at random, each at most once."""

    def __init__(self, world: Any) -> None:
        self._count, self._size = world.num_items, world.slate_size

    def meet(self, seed: int, slate: NDArray[np.int64], clicked: NDArray[np.bool_]) -> None:
        self._rng = np.random.default_rng(seed)

    def slate(self) -> NDArray[np.int64]:
        items: NDArray[np.int64] = self._rng.choice(self._count, self._size, replace=False)
        return items

    def see(self, slate: NDArray[np.int64], clicked: NDArray[np.bool_]) -> None:
        pass


class _Oracle(_Random):
    """What the environment says that the shopper likes best at this moment."""

    def slate(self) -> NDArray[np.int64]:
        return np.full(self._size, -1)


class _Shop:
    """The jobs' code over the environment's items, one shopper at a time; what is learnt of all is kept."""

    def __init__(self, world: Any, policy: dict[str, Any]) -> None:
        vectors = world.item_embedd
        ids = [f"i{n:04d}" for n in range(len(vectors))]
        self._size, self._ids = world.slate_size, ids
        self._place = {item_id: n for n, item_id in enumerate(ids)}
        self._catalogue = Catalogue(unknown_to_any_model(ids))
        padding = (0.0,) * (CONTENT_DIM - vectors.shape[1])
        for offset, (item_id, vector) in enumerate(zip(ids, vectors, strict=True)):
            item = Item(
                item_id=item_id,
                name=item_id,
                category=f"topic {vector.argmax()}",
                price=1.0,
                content=(*vector.tolist(), *padding),
            )
            self._catalogue.put(item_id, item, offset)
        self._numbers = np.arange(1, len(ids) + 1)
        self._content = self._catalogue.content_rows[self._numbers]
        fields = {"version": 2, "author": "bench"} | policy
        self._table = PolicyTable({"global": msgspec.convert(fields, Policy)})
        self._estimates = EstimateTable(self._catalogue)
        self._loop, self._now_ms = FeedbackLoop(), START_MS

    def meet(self, seed: int, slate: NDArray[np.int64], clicked: NDArray[np.bool_]) -> None:
        self._shopper, self._state = f"shopper-{seed}", shopper.new()
        self._content_interest, self._slates = ContentInterest(CONTENT_DIM), 0
        self._take(slate, clicked)

    def slate(self) -> NDArray[np.int64]:
        shopper_view = shopper.view(self._state)
        features = extract_row(self._shopper, shopper_view, self._catalogue)
        since_ms = self._now_ms - features.event_time_ms if self._state.sequence else 0
        request = SlateRequest(features, self._slates, "home", since_ms)
        logits = np.clip(self._content_interest.logits(self._content), -LOGIT_AT_MOST, LOGIT_AT_MOST)
        candidates = Candidates(self._numbers, logits, None, Fallback.NONE, b"")
        self._rec_id = f"{self._shopper}-{self._slates}"
        learnt = self._estimates.of(self._numbers)
        self._shown = draw_slate(request, self._rec_id, candidates, learnt, self._catalogue, self._table).items[
            : self._size
        ]
        self._slates += 1
        return np.array([self._place[item.item_id] for item in self._shown])

    def see(self, slate: NDArray[np.int64], clicked: NDArray[np.bool_]) -> None:
        self._attribute(clicked)
        self._take(slate, clicked)
        self._learn()

    def _take(self, slate: NDArray[np.int64], clicked: NDArray[np.bool_]) -> None:
        self._content_interest.learn(self._content[slate], clicked)
        for place in np.flatnonzero(clicked).tolist():
            self._state = shopper.update(self._state, self._click(place, int(slate[place])))
        self._now_ms += STEP_MS

    def _click(self, place: int, number: int) -> Interaction:
        item = self._catalogue.item(self._ids[number])
        assert item is not None
        return Interaction(
            event_id=f"{self._shopper}-{self._now_ms}-{place}",
            shopper_id=self._shopper,
            session_id=self._shopper,
            item_id=item.item_id,
            kind=Kind.VIEW,
            event_time_ms=self._now_ms + place,
            category=item.category,
        )

    def _attribute(self, clicked: NDArray[np.bool_]) -> None:
        items = tuple(item.item_id for item in self._shown)
        slate = _recommendation(self._rec_id, self._shopper, self._now_ms, self._shown)
        shown = Impression(
            rec_id=self._rec_id, shopper_id=self._shopper, items=items, event_time_ms=slate.event_time_ms
        )
        self._loop.shown(slate)
        self._loop.feedback(shown)
        for place in np.flatnonzero(clicked).tolist():
            self._loop.feedback(to_message(self._click(place, self._place[items[place]]), self._rec_id))

    def _learn(self) -> None:
        if learnt := self._loop.learn(self._table, self._catalogue.facts):
            for estimates in learnt[0]:
                self._estimates.put(estimates.name, estimates)


def _recommendation(rec_id: str, shopper_id: str, event_time_ms: int, items: tuple[SlateItem, ...]) -> Recommendation:
    return Recommendation(
        rec_id=rec_id,
        surface="home",
        shopper_id=shopper_id,
        event_id=rec_id,
        origin=Origin("sardine", 0, 0),
        event_time_ms=event_time_ms,
        emitted_time_ms=event_time_ms,
        slate=items,
        fallback=Fallback.NONE,
        policy_version=2,
        policy_scope="global",
        estimates_version=0,
        propensity=1.0,
        exploration_rate=0.0,
        uncertainty=0.0,
        model_version=MODEL_VERSION,
    )
