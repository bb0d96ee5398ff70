"""`rheostat bench tradeoff`: whole ways to recommend, side by side in the closed loop, when the fashion changes.

A slate's reward is what it brings of clicks, purchases and revenue, each in units of what fixed weights of relevance
bring before the change, a third of the sum. It is judged by the chances that the shop itself draws from, since one
slate in a hundred is bought from, and luck would hide what a way is worth. The same shops for all; what is judged is
after the change.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from features.sources.simulator.shop import Parameters, Shop
from infra.bench.closed_loop import ClosedLoop, Second
from infra.local.steps import Steps
from streaming.control.item_estimates import ItemEstimates
from streaming.schemas import Policy
from streaming.scoring.model import lasting_model

BEFORE_S = 60
EPSILON = 0.1
LIFT_AT_LEAST = 1e-3  # of a draw
GOALS = "clicks", "purchases", "revenue"
MERCHANT, SHARE = "merchant-7", (0.05, 0.06)  # of the constraint; by itself it is 1 in 60
STEP_S = 30  # of the curves
FRONT_SEEDS = 3  # of the points that are only of the front

RELEVANCE = {"relevance": 1.0}
MIX = {"relevance": 1.0, "conversion": 1.0, "revenue": 1.0}
# Of the objective beside relevance, whose weight alone is turned.
SWEEPS: dict[str, list[dict[str, float]]] = {
    "conversion": [RELEVANCE, {"relevance": 1.0, "conversion": 1.0}, {"relevance": 0.1, "conversion": 1.0}],
    "revenue": [RELEVANCE, {"relevance": 1.0, "revenue": 0.5}, {"relevance": 0.1, "revenue": 1.0}],
}
FRONT = [RELEVANCE, MIX, SWEEPS["conversion"][2], SWEEPS["revenue"][2]]
OURS = {"budget": 0.1, "settled": 0.5, "optimism": 0.3, "temperature": 0.05}
HELD = {"measure": "exposure", "merchant": MERCHANT, "at_least": SHARE[0], "at_most": SHARE[1], "speed": 3.0}


@dataclass(frozen=True)
class Way:
    """A way to recommend."""

    weights: dict[str, float]
    learns: bool = True
    exploration: dict[str, float] = field(default_factory=dict)
    draws_lifts: bool = False  # Thompson sampling: each slate by a draw of what is believed of every item
    constraints: dict[str, Any] = field(default_factory=dict)


WAYS = {
    "fixed, relevance": Way(RELEVANCE, learns=False),
    "fixed, mix": Way(MIX, learns=False),
    "ε-greedy": Way(MIX, exploration={"budget": EPSILON, "settled": 1.0, "epsilon": 1.0}),
    "Thompson": Way(MIX, draws_lifts=True),
    "Rheostat": Way(MIX, exploration=OURS),
}
FIXED, OTHERS, RHEOSTAT = ("fixed, relevance", "fixed, mix"), ("ε-greedy", "Thompson"), "Rheostat"
ORACLE, CONSTRAINED = "oracle", "Rheostat, constrained"


class Run(NamedTuple):
    before: NDArray[np.float64]  # (3,) of a slate that was looked at, by GOALS
    after: NDArray[np.float64]  # (3,)
    curve: NDArray[np.float64]  # (steps, 3)
    coverage: float  # share of the items on sale that were shown after the change
    new: float  # share of the places after the change that show items which the model does not know
    share: float  # of MERCHANT, over the last half
    pages: float  # share of the slates that were looked at after the change, that pages have asked for


def measure(model: Path, seeds: int, after_s: int, pages: float, plot: Path | None, console: Console) -> dict[str, Any]:
    """Return what each way brings, and by how much ours brings more; `pages` is the share of steps that open one."""
    runs: dict[str, list[Run]] = {}
    arguments = [(model, name, way, seed, after_s, pages) for name, way, shops in ways(seeds) for seed in range(shops)]
    with ProcessPoolExecutor(2) as pool, Steps(console) as steps, steps.step("all shops have run") as progress:
        for n, (of, run) in enumerate(zip(arguments, pool.map(_run, arguments), strict=True), start=1):
            runs.setdefault(of[1], []).append(run)
            progress(f"{n} of {len(arguments)}")
    return {"seeds": seeds, "seconds": after_s} | compare(runs, plot, console)


def ways(seeds: int) -> list[tuple[str, Way, int]]:
    """Return each way by its name, with the count of its shops."""
    fronts = {f"fixed {n}": Way(mix, learns=False) for n, mix in enumerate(SWEEPS["conversion"] + SWEEPS["revenue"])}
    fronts |= {f"ours {n}": Way(mix, exploration=OURS) for n, mix in enumerate(FRONT)}
    constrained = {CONSTRAINED: Way(MIX, exploration=OURS, constraints={"share": HELD})}
    whole = WAYS | {ORACLE: Way(RELEVANCE, learns=False)}
    return [(name, way, seeds) for name, way in whole.items()] + [
        (name, way, min(seeds, FRONT_SEEDS)) for name, way in (fronts | constrained).items()
    ]


def compare(runs: dict[str, list[Run]], plot: Path | None, console: Console) -> dict[str, Any]:
    """Return what each way brings, and by how much ours brings more, of its runs in the same shops."""
    unit = np.mean([run.before for run in runs[FIXED[0]]], axis=0)
    rewards = {name: np.array([(run.after / unit).mean() for run in runs[name]]) for name in (*WAYS, ORACLE)}
    table = Table("way", *[f"{goal} of a slate" for goal in GOALS], "reward", "regret, clicks", "coverage", "new items")
    figures: dict[str, Any] = {}
    best_clicks = np.mean([run.after[0] for run in runs[ORACLE]])
    for name, reward in rewards.items():
        of_goals = np.mean([run.after for run in runs[name]], axis=0)
        figures[name] = {
            "reward": round(float(reward.mean()), 6),
            "standard_error": _error(reward),
            **{goal: round(float(value), 4) for goal, value in zip(GOALS, of_goals, strict=True)},
            "regret_clicks": round(float(best_clicks - of_goals[0]), 4),
            "coverage": round(float(np.mean([run.coverage for run in runs[name]])), 4),
            "new_items": round(float(np.mean([run.new for run in runs[name]])), 4),
        }
        shown = figures[name]
        table.add_row(
            name,
            *[f"{shown[goal]:.4f}" for goal in GOALS],
            f"{shown['reward']:.3f}{_within(shown['standard_error'], '.3f')}",
            f"{shown['regret_clicks']:.3f}",
            f"{shown['coverage']:.1%}",
            f"{shown['new_items']:.1%}",
        )
    console.print(table)

    def gain(over: tuple[str, ...]) -> tuple[float, float]:
        best = max(over, key=lambda name: rewards[name].mean())
        ratio = rewards[RHEOSTAT] / rewards[best]  # the same shops
        return round(float(rewards[RHEOSTAT].mean() / rewards[best].mean() - 1), 6), _error(ratio)

    def points(names: list[str]) -> NDArray[np.float64]:
        return np.array([np.mean([run.after / unit for run in runs[name]], axis=0) for name in names])

    names = [f"fixed {n}" for n in range(sum(map(len, SWEEPS.values())))]
    count = len(SWEEPS["conversion"])
    ours = points([f"ours {n}" for n in range(len(FRONT))])
    sweeps = {"conversion": points(names[:count]), "revenue": points(names[count:])}
    widest = max(hypervolume(sweep) for sweep in sweeps.values())
    shares = np.array([run.share for run in runs[CONSTRAINED]])
    violation = float(max(0.0, (1 - shares / SHARE[0]).max(), (shares / SHARE[1] - 1).max()))
    (over_fixed, its_error), (over_others, their_error) = gain(FIXED), gain(OTHERS)
    console.print(
        f"Rheostat over the best fixed weights {over_fixed:+.1%}{_within(its_error, '.1%')}, "
        f"over the best of the others {over_others:+.1%}{_within(their_error, '.1%')}; "
        f"constraint violated by {violation:.1%} at worst; "
        f"hypervolume {hypervolume(ours) / widest:.2f} times that of the best sweep"
    )
    if plot is not None:
        _plot({name: runs[name] for name in (*WAYS, ORACLE)}, unit, ours, sweeps, plot)
        console.print(f"curves and front: {plot}")
    return {
        "pages": round(float(np.mean([run.pages for run in runs[RHEOSTAT]])), 4),
        "ways": figures,
        "gain_over_greedy": over_fixed,
        "gain_over_greedy_standard_error": its_error,
        "gain_over_best_baseline": over_others,
        "gain_over_best_baseline_standard_error": their_error,
        "constraint_violation": round(violation, 4),
        "hypervolume_ratio": round(hypervolume(ours) / widest, 4),
    }


def hypervolume(points: NDArray[np.float64]) -> float:
    """Return the volume of what some point of (N, 3) exceeds in everything, from the origin (Zitzler & Thiele 1998)."""
    points = points[np.argsort(-points[:, 2])]
    levels = [*points[:, 2].tolist(), 0.0]
    slabs = [_area(points[:n, :2]) * (above - below) for n, (above, below) in enumerate(pairwise(levels), start=1)]
    return float(sum(slabs))


def _area(points: NDArray[np.float64]) -> float:
    covered = height = 0.0
    pairs: list[tuple[float, float]] = points.tolist()
    for x, y in sorted(pairs, reverse=True):
        if y > height:
            covered += x * (y - height)
            height = y
    return covered


def _run(arguments: tuple[Path, str, Way, int, int, float]) -> Run:
    folder, name, way, seed, after_s, pages = arguments
    shop = Shop(seed, Parameters(page=pages), foresees=True)
    rng = np.random.default_rng(seed)
    sample = partial(_lifts_drawn, rng) if way.draws_lifts else None
    loop = ClosedLoop(shop, lasting_model(folder), way.learns, sample=sample, oracle=name == ORACLE)
    fields = {"weights": way.weights, "exploration": way.exploration, "constraints": way.constraints}
    loop.pipeline.turn(msgspec.convert({"version": 2, "author": "bench"} | fields, Policy))
    before = loop.run(BEFORE_S)
    shop.shift_preferences()
    after = loop.run(after_s)
    late = after[len(after) // 2 :]
    shown: set[str] = set().union(*[second.items for second in after])
    places = sum(second.places for second in after)
    return Run(
        before=_of_slate(before),
        after=_of_slate(after),
        curve=np.array([_of_slate(after[n : n + STEP_S]) for n in range(0, after_s - STEP_S + 1, STEP_S)]),
        coverage=len(shown) / len(shop.items()),
        new=sum(second.cold for second in after) / places,
        share=sum(second.exposure[MERCHANT] for second in late) / sum(second.places for second in late),
        pages=sum(second.pages for second in after) / sum(second.slates for second in after),
    )


def _lifts_drawn(rng: np.random.Generator, believed: ItemEstimates) -> ItemEstimates:
    """Return `believed` with a draw of each item's lift in the place of its mean, from the gamma that it stands for."""
    scale = believed.lift_std**2 / believed.lift
    return believed._replace(lift=np.maximum(rng.gamma(believed.lift / scale, scale), LIFT_AT_LEAST))


def _of_slate(seconds: list[Second]) -> NDArray[np.float64]:
    prospects = [prospect for second in seconds for prospect in second.prospects]
    return np.asarray([np.mean([getattr(prospect, goal) for prospect in prospects]) for goal in GOALS])


def _error(values: NDArray[np.float64]) -> float:
    return round(float(values.std(ddof=1) / len(values) ** 0.5), 4) if len(values) > 1 else float("nan")


def _within(error: float, form: str) -> str:
    """Return a standard error behind its figure; one shop has none."""
    return f" ± {error:{form}}" if np.isfinite(error) else ""


def _band(axes: Any, seconds: NDArray[np.float64], values: NDArray[np.float64], name: str) -> None:
    """Draw the mean of (seeds, steps) values and its standard error."""
    mean = values.mean(axis=0)
    (line,) = axes.plot(seconds, mean, linewidth=2, label=name)
    if len(values) > 1:
        error = values.std(axis=0, ddof=1) / len(values) ** 0.5
        axes.fill_between(seconds, mean - error, mean + error, color=line.get_color(), alpha=0.2, linewidth=0)


def _plot(
    runs: dict[str, list[Run]],
    unit: NDArray[np.float64],
    ours: NDArray[np.float64],
    sweeps: dict[str, NDArray[np.float64]],
    path: Path,
) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(16, 5))
    for name, of_way in runs.items():
        curves = np.array([run.curve for run in of_way])  # (seeds, steps, 3)
        steps = np.arange(1, curves.shape[1] + 1)
        _band(left, STEP_S * steps.astype(np.float64), curves[:, :, 0], name)
        if name != ORACLE:
            _band(middle, STEP_S * steps.astype(np.float64), (curves / unit).mean(axis=2).cumsum(axis=1) / steps, name)
    left.set(title="Clicks of a slate that is looked at", xlabel="s after the fashion changed", ylim=(0, None))
    middle.set(title="Mean reward so far, of what it was before the change", xlabel="s after the fashion changed")
    fixed = [(f"fixed, {name}'s weight turned", sweep) for name, sweep in sweeps.items()]
    for (name, points), marker in zip((*fixed, (RHEOSTAT, ours)), "s^o", strict=True):
        order = np.argsort(points[:, 0])
        right.plot(points[order, 0], points[order, 2], marker=marker, markersize=9, linewidth=1.5, label=name)
    right.set(title="The front, of what there was before", xlabel="clicks of a slate", ylabel="revenue of a slate")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    figure.text(0.01, 0.01, f"bands: the standard error of {len(runs[RHEOSTAT])} shops", fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
