"""What a policy would have brought, before it is put in force."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from streaming.cli import policy_file
from streaming.cli.group import fail
from streaming.cli.options import (
    DATA,
    FOR_EVER_MS,
    MODEL,
    AsJson,
    From,
    To,
    errors,
    print_json,
    printer,
    say,
    to_ms,
)
from streaming.jobs.options import Model
from streaming.schemas import Measure
from streaming.storage import AnyPath, path_of

if TYPE_CHECKING:
    from rich.console import Console

LEAST_EFFECTIVE = 100.0
Log = Annotated[
    AnyPath,
    typer.Option("--log", parser=path_of, metavar="PATH", help="Folder or URI `rheostat log sink` filled."),
]
Confidence = Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")]
Reward = Annotated[
    Literal["clicks", "purchases", "revenue"], typer.Option(help="What of a slate must not become worse.")
]
Margin = Annotated[float, typer.Option(min=0, max=1, help="By which it may, as a share of what is in force.")]
_NAMES = {"ips": "IPS", "snips": "SNIPS", "dr": "doubly robust", "cascade": "cascade"}


def evaluate(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="YAML of the policy that is asked about.")],
    log: Log = DATA,
    model: Model = MODEL,
    from_: From = None,
    to: To = None,
    confidence: Confidence = 0.95,
    reward: Reward = "clicks",
    margin: Margin = 0.0,
    as_json: AsJson = False,
) -> None:
    """Estimate from the log what a policy would have brought, beside those in force at the log's end (off-policy).

    Example: rheostat evaluate policy.yaml --log .local/feast/data
    """
    from streaming.offline import evaluation
    from streaming.offline.logged_slates import policies_in_force

    console = printer(as_json)
    with errors(OSError):
        in_force = policies_in_force(log)
    policy = policy_file.stamped(policy_file.read(file), in_force.version, None, str(file))
    range_ms = to_ms(from_, 0), to_ms(to, FOR_EVER_MS)
    report = _evaluated(policy, in_force, log, model, range_ms, confidence, console)
    measure = Measure(reward)
    why = evaluation.gate(report, measure, margin, LEAST_EFFECTIVE)
    words = evaluation.verdict(report, measure, LEAST_EFFECTIVE)
    say(f"verdict: {words}", console)
    say(f"the gate would {f'refuse it: {why}' if why else 'let it pass'}", console)
    print_json(msgspec.to_builtins(report) | {"verdict": words, "refusal": why}, as_json)


def gate(
    policy: Any, in_force: Any, log: Path, model: Path, reward: str, margin: float, console: "Console"
) -> str | None:
    """Return why `policy` should not be put in force as the log has it, and print what the log says."""
    from streaming.offline import evaluation

    report = _evaluated(policy, in_force, log, model, (0, FOR_EVER_MS), 0.95, console)
    return evaluation.gate(report, Measure(reward), margin, LEAST_EFFECTIVE)


def _evaluated(
    policy: Any,
    in_force: Any,
    log: Path,
    model: Path,
    range_ms: tuple[int, int],
    confidence: float,
    console: "Console",
) -> Any:
    from features.progress import Bar
    from onnx_models.artifact import read_items, read_manifest
    from streaming.offline import evaluation
    from streaming.offline.logged_slates import LoggedSlates
    from streaming.policy import check

    if why := check.validate(policy, in_force.version, check.ANYONE):
        fail(f"the policy is refused: {why}")
    with errors(OSError):
        manifest = read_manifest(model)
        slates = LoggedSlates(log, read_items(model, manifest), manifest.model_version, *range_ms)
        with Bar(console, transient=True) as progress:
            task = progress.add_task("slates", total=len(slates))
            report = evaluation.evaluate(
                slates, in_force, in_force.put(policy), confidence, lambda done: progress.update(task, completed=done)
            )
    _print(report, slates, confidence, console)
    return report


def _print(report: Any, slates: Any, confidence: float, console: "Console") -> None:
    from rich.table import Table

    title = f"Of a slate, with {confidence:.0%} intervals; {report.slates:,} slates of {report.shoppers:,} shoppers"
    table = Table("", "estimator", *[reward.value for reward in report.value], title=title)
    values = report.value.values()
    table.add_row("logged", "", *[_words(value.logged) for value in values])
    for name, of in (("in force", "in_force"), ("asked", "asked"), ("gain", "gain")):
        for estimator, shown in _NAMES.items():
            table.add_row(name, shown, *[_words(getattr(value, of)[estimator], of == "gain") for value in values])
            name = ""
        table.add_section()
    console.print(table)
    for who, effective in (("in force", report.in_force), ("asked", report.asked)):
        few = min(effective.slates, effective.places) < LEAST_EFFECTIVE
        note = "; what has fewer than 100 behind it says little, whatever its interval" if few else ""
        say(
            f"{who}: the log counts as {effective.places:,.0f} slates of its own for the cascade, "
            f"{effective.slates:,.0f} for the others{note}",
            console,
        )
    say(
        f"{report.reproduced:.1%} of the logged propensities are those of the policies in force; left out: "
        f"{slates.not_shown:,} slates that were not shown, {slates.of_another_model:,} of another model, "
        f"{slates.of_unknown_items:,} of items that the log does not have, {slates.implausible:,} with a propensity "
        "or an estimate that cannot be",
        console,
    )


def _words(interval: Any, is_gain: bool = False) -> str:
    sign = "+" if is_gain else ""
    if math.isnan(interval.value):
        return "nothing alike"
    return f"{interval.value:{sign}.4f} ± {interval.high - interval.value:.4f}"
