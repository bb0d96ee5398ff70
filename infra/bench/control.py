"""`rheostat bench control`: constraints in the closed loop, before and after a shock."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from features.sources.simulator.shop import Parameters, Shop
from infra.bench.closed_loop import ClosedLoop, Second, mean
from infra.local.steps import Steps
from streaming.schemas import Policy
from streaming.scoring.model import lasting_model

MERCHANT = "merchant-7"
FREE_S, RICH_S = 300, 120  # without constraints: weighed by relevance, and by revenue before all else
HELD_S, JUDGED_S = 240, 120  # before and after the shock; of each, what is judged
RICH = 10.0  # weight of revenue
SHARE = (0.05, 0.06)  # by itself it is 1 in 60
SPEED = 3.0
LOOKS_BACK_S = 10  # of the curves
OTHERS = {f"merchant-{n}" for n in range(60) if n % 3 == 0}
# Nothing is delivered while a run lasts.
SHOP = Parameters(restock_after=10_000_000)
SHOCKS: dict[str, Callable[[Shop], None]] = {
    "price change": lambda shop: shop.reprice(OTHERS, 0.6),
    "stock-out": lambda shop: shop.stock_out(OTHERS),
    "traffic shift": lambda shop: shop.shift(1.0),
}


class Run(NamedTuple):
    """One shop before and after a shock; curves are by second."""

    earned: list[float]  # of a slate, without constraints: weighed by relevance, and by revenue
    target: float  # of a slate
    revenue: list[float]  # as the controller measures it
    share: list[float]  # of the merchant, of what was shown in the last seconds
    came: tuple[float, float]  # revenue of a slate that really came, in what is judged before and after
    could: float  # of a slate after the shock, weighed by revenue before all else: is the floor within reach?


def measure(model: Path, seeds: int, plot: Path | None, console: Console) -> dict[str, Any]:
    """Return the worst violation of any shop, averaged over the last JUDGED_S before and after each shock."""
    arguments = [(model, shock, seed) for shock in SHOCKS for seed in range(seeds)]
    runs: list[Run] = []
    with ProcessPoolExecutor(2) as pool, Steps(console) as steps, steps.step("all shops have run") as progress:
        for run in pool.map(_run, arguments):
            runs.append(run)
            progress(f"{len(runs)} of {len(arguments)}")
    by_shock = {shock: runs[n * seeds : (n + 1) * seeds] for n, shock in enumerate(SHOCKS)}
    table = Table(
        "shock", "", "revenue, of its floor", "share, aim 5 to 6 %", "worst violation", title="Constraints held"
    )
    figures: dict[str, Any] = {}
    for shock, of_shock in by_shock.items():
        figures[shock] = {}
        for when, judged in (("before", slice(HELD_S - JUDGED_S, HELD_S)), ("after", slice(-JUDGED_S, None))):
            revenue = float(np.mean([np.mean(run.revenue[judged]) / run.target for run in of_shock]))
            share = float(np.mean([np.mean(run.share[judged]) for run in of_shock]))
            violation = max(_violation(run, judged) for run in of_shock)
            came = [run.came[when == "after"] / run.target for run in of_shock]
            figures[shock][when] = {
                "revenue_of_floor": round(revenue, 4),
                "revenue_that_came_of_floor": round(float(np.mean(came)), 3),
                "its_standard_error": round(float(np.std(came) / max(len(came) - 1, 1) ** 0.5), 3),
                "share": round(share, 4),
                "violation": round(violation, 4),
            }
            table.add_row(shock, when, f"{revenue:.3f}", f"{share:.2%}", f"{violation:.1%}")
    console.print(table)
    if plot is not None:
        _plot(by_shock, plot)
        console.print(f"curves: {plot}")
    can = [run.earned[1] / run.earned[0] for run in by_shock["price change"]]
    console.print(f"a weight of {RICH:g} on revenue: a slate earns {min(can):.2f} to {max(can):.2f} times as much")
    for shock, of_shock in by_shock.items():
        could = [run.could / run.target for run in of_shock]
        figures[shock]["after"]["within_reach_of_floor"] = [round(value, 3) for value in could]
        console.print(f"it earns {min(could):.2f} to {max(could):.2f} of the floor after the {shock}")
    figures_of_all = {"seeds": seeds, "revenue_by_weight": [round(value, 3) for value in can]}
    worst = max(figures["violation"] for of_shock in figures.values() for figures in of_shock.values())
    return figures_of_all | {"shocks": figures, "constraint_violation": worst}


def _violation(run: Run, judged: slice) -> float:
    """Return by how much of its bound the worst constraint of a shop is violated, on average over what is judged."""
    revenue, share = float(np.mean(run.revenue[judged])) / run.target, float(np.mean(run.share[judged]))
    return max(1.0 - revenue, 1.0 - share / SHARE[0], share / SHARE[1] - 1.0, 0.0)


def _run(arguments: tuple[Path, str, int]) -> Run:
    model, shock, seed = arguments
    loop = ClosedLoop(Shop(100 + seed, SHOP), lasting_model(model))
    earned = [_earns(loop, _policy(2, 0.0, 0.0), FREE_S), _earns(loop, _policy(3, RICH, 0.0), RICH_S)]
    target = sum(earned) / 2  # half-way to what a weight can do
    loop.pipeline.turn(_policy(4, 0.0, target))
    curves: dict[str, list[float]] = {"revenue": [], "share": []}
    came = []
    for phase in range(2):
        if phase:
            SHOCKS[shock](loop.shop)
        seconds: list[Second] = []
        for _ in range(HELD_S):
            seconds += loop.run(1)
            recent = seconds[-LOOKS_BACK_S:]
            shown = sum(second.places for second in recent)
            curves["revenue"].append(loop.pipeline.measured("revenue"))
            curves["share"].append(sum(second.exposure[MERCHANT] for second in recent) / max(shown, 1))
        came.append(mean(seconds[-JUDGED_S:], "revenue"))
    could = _earns(loop, _policy(5, RICH, 0.0), RICH_S)
    return Run(earned, target, curves["revenue"], curves["share"], (came[0], came[1]), could)


def _earns(loop: ClosedLoop, policy: Policy, lasts_s: int) -> float:
    """Return what a slate earns by a policy, over the second half of the time that it lasts."""
    loop.pipeline.turn(policy)
    loop.run(lasts_s // 2)
    by_second = []
    for _ in range(lasts_s // 2):
        loop.run(1)
        by_second.append(loop.pipeline.measured("revenue"))
    return float(np.mean(by_second))


def _policy(version: int, weight: float, floor: float) -> Policy:
    constraints: dict[str, Any] = {"revenue": {"measure": "revenue", "at_least": floor, "speed": SPEED}}
    if floor:
        share = {"measure": "exposure", "merchant": MERCHANT, "at_least": SHARE[0], "at_most": SHARE[1]}
        constraints["share"] = share | {"speed": SPEED}
    weights = {"relevance": 1.0, "revenue": weight}
    fields = {"version": version, "author": "bench", "weights": weights, "constraints": constraints}
    return msgspec.convert(fields, Policy)


def _plot(by_shock: dict[str, list[Run]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(by_shock), figsize=(13, 6), sharex=True, sharey="row")
    for (shock, runs), (above, below) in zip(by_shock.items(), axes.T, strict=True):
        for number, run in enumerate(runs, start=1):
            above.plot(np.array(run.revenue) / run.target, linewidth=1.5, label=f"shop {number}")
            below.plot(100 * np.array(run.share), linewidth=1.5, label=f"shop {number}")
        above.axhline(1.0, color="black", linestyle="--", label="at least")
        for bound, words in zip(SHARE, ("at least", "at most"), strict=True):
            below.axhline(100 * bound, color="black", linestyle="--" if words == "at least" else ":", label=words)
        for plot in (above, below):
            plot.axvline(HELD_S, color="crimson", label=shock)
            plot.grid(alpha=0.3)
        above.set_title(f"{shock} at {HELD_S} s")
        below.set_xlabel("s")
    axes[0, 0].set_ylabel("revenue of a slate, of its floor")
    axes[1, 0].set_ylabel(f"share of {MERCHANT}, %")
    for plot in axes[:, 0]:
        plot.legend(fontsize=8, ncols=2)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
