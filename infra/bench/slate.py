"""`rheostat bench slate`: what weighing and drawing a slate cost on one core, beside the model."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from features import shopper
from features.extraction import extract_row
from features.sources.simulator import shop
from infra.bench.features import START_MS
from streaming.control.catalogue import Catalogue
from streaming.control.item_estimates import EstimateTable
from streaming.io.feed import to_message
from streaming.policy.estimates import LEVELS
from streaming.policy.table import PolicyTable
from streaming.schemas import Estimates, Exploration, Fallback, ItemEstimate, LevelEstimate, Objective, Policy, Rule
from streaming.scoring.advance import interaction
from streaming.scoring.candidates import Candidates
from streaming.scoring.model import SessionModel
from streaming.scoring.slate import SlateRequest, draw_slate
from streaming.testing import control_state

SEED = 23
INTERACTIONS = 40  # of the shopper who is shown the slates
SPREAD = 2.0  # standard deviation of the candidates' log odds
_ALL = {"relevance": 1.0, "conversion": 0.5, "revenue": 0.5, "novelty": 0.2}
_EXPLORING = Exploration(budget=0.1, epsilon=0.05, optimism=1.0)
_RULES = {
    "hidden": Rule(where="item.category == 'tents'", hide=True),
    "boosted": Rule(where="item.margin > 0.5 and item.stock > 5", boost=0.3),
    "pinned": Rule(where="item.brand == 'brand-1'", pin=2),
}

# What an operator may ask for, from nothing to everything.
POLICIES = {
    "relevance": [Policy(version=2, author="bench")],
    "four objectives": [Policy(version=2, author="bench", weights=_ALL)],
    "and diversity": [Policy(version=2, author="bench", weights=_ALL, diversity=0.3)],
    "and exploration": [Policy(version=2, author="bench", weights=_ALL, diversity=0.3, exploration=_EXPLORING)],
    "everything": [
        Policy(
            version=2,
            author="bench",
            weights=_ALL | {"mine": 0.1},
            objectives={"mine": Objective(expression="item.margin > 0.3 and session.drift < 0.5")},
            diversity=0.3,
            exploration=_EXPLORING,
        ),
        Policy(scope="merchant:merchant-3", version=3, author="bench", weights={"relevance": 2.0}),
        Policy(scope="segment:cold", version=4, author="bench", when="session.evidence < 5"),
    ],
    "diversity and rules": [Policy(version=2, author="bench", weights=_ALL, diversity=0.3, rules=_RULES)],
}


def measure(model_folder: Path, candidates: int, slates: int, console: Console) -> dict[str, Any]:
    """Return the times of `slates` slates of 20 under each of POLICIES, in turns; `p50_us` is that of everything."""
    model = SessionModel(model_folder)
    catalogue = control_state(model, shop.items()).catalogue
    estimates = EstimateTable(catalogue)
    learnt = _learnt(catalogue)
    estimates.put(learnt.name, learnt)
    state = shopper.new()
    for number, did in zip(range(INTERACTIONS), shop.interactions(SEED, START_MS, 1.0), strict=False):
        of_one = replace(did, shopper_id="bench", session_id=f"{number // 10}")
        state = shopper.update(state, interaction(to_message(of_one), catalogue))
    shopper_view = shopper.view(state)
    request = SlateRequest(extract_row("bench", shopper_view, catalogue), INTERACTIONS, "home")
    rng = np.random.default_rng(SEED)
    candidate_sets = []
    for _ in range(64):  # in turns, so that no cache is warmer than in the job
        item_index = rng.choice(np.flatnonzero(catalogue.available), candidates, replace=False)
        logits = np.sort(rng.normal(-2.0, SPREAD, candidates))[::-1]
        candidate_sets.append(Candidates(item_index, logits, None, Fallback.NONE, b""))
    tables = {name: PolicyTable({policy.scope: policy for policy in of}) for name, of in POLICIES.items()}
    times_us: dict[str, list[float]] = {name: [] for name in tables}
    for n in range(slates):
        for name, table in tables.items():
            began = time.perf_counter_ns()
            of_slate = candidate_sets[n % len(candidate_sets)]
            draw_slate(request, f"bench-{n}", of_slate, estimates.of(of_slate.item_index), catalogue, table)
            times_us[name].append((time.perf_counter_ns() - began) / 1000)
    shown = Table("policy", "p50 µs", "p99 µs", title=f"A slate of 20 from {candidates} candidates")
    figures = {}
    for name, of_policy in times_us.items():
        p50, p99 = np.percentile(of_policy, [50, 99]).round(1).tolist()
        figures[name] = {"p50_us": p50, "p99_us": p99}
        shown.add_row(name, f"{p50:,}", f"{p99:,}")
    console.print(shown)
    return {"candidates": candidates, "slates": slates, "policies": figures} | figures["everything"]


def _learnt(catalogue: Catalogue) -> Estimates:
    """Return estimates of half of the items on sale."""
    return Estimates(
        version=1,
        time_ms=START_MS,
        model_version="bench",
        intercept=-0.2,
        slope=0.9,
        click_rate=0.1,
        buy_rate=0.05,
        looked=(1.0,),
        prior_spread=0.3,
        levels=(LevelEstimate(1.0, 1.0),) * LEVELS,
        items={item_id: ItemEstimate(1.0, 0.3, 1.0) for item_id in list(catalogue.index_of)[::2]},
    )
