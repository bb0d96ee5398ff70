"""`rheostat watch`: what the jobs do, live, in figures of the shop and of the machine."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streaming.cli.group import fail
from streaming.cli.options import AsJson, errors, print_json, printer, stopping
from streaming.cli.running import HOME, running

if TYPE_CHECKING:
    from rich.table import Table

    from streaming.io.scrape import Snapshot

NOTHING = "-"
_SPARSE = frozenset({"slates", "feedback", "dead_letters"})  # of whose labels only those are shown that ever came
JOBS = ("recommend", "features", "learn")
Recommend = Annotated[str | None, typer.Option("--recommend", help="URL of the job's metrics.", show_default="of `up`")]
Features = Annotated[str | None, typer.Option("--features", help="URL of the job's metrics.", show_default="of `up`")]
LearnUrl = Annotated[str | None, typer.Option("--learn", help="URL of the job's metrics.", show_default="of `up`")]


def watch(
    recommend: Recommend = None,
    features: Features = None,
    learn: LearnUrl = None,
    interval_s: Annotated[float, typer.Option(min=0.2, help="Between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the jobs do, live, from their metrics (docs/metrics.md).

    First what slates bring, since the jobs were started: clicks, purchases and revenue of a slate that was looked at.

    Example: rheostat watch --once --json
    """
    console = printer(as_json)
    stack = running(HOME)
    of_up = {} if stack is None else stack.metrics
    urls = {job: url or of_up.get(job, "") for job, url in zip(JOBS, (recommend, features, learn), strict=True)}
    if missing := [f"--{job}" for job, url in urls.items() if not url]:
        fail(f"nothing runs here and no jobs are named; give {', '.join(missing)}, or start `rheostat up`")
    from rich.live import Live

    with stopping() as stop, errors(OSError):
        before, began = _look(urls), time.monotonic()
        with Live(console=console, auto_refresh=False) as live:
            while not stop.wait(interval_s):
                now = _look(urls)
                ended = time.monotonic()
                figures = _figures(before, now, ended - began)
                live.update(_table(figures), refresh=True)
                before, began = now, ended
                if once:
                    print_json(figures, as_json)
                    return


def _look(urls: dict[str, str]) -> "dict[str, Snapshot]":
    from streaming.io.scrape import scrape

    return {job: scrape(url, job) for job, url in urls.items()}


def _figures(before: "dict[str, Snapshot]", now: "dict[str, Snapshot]", seconds: float) -> dict[str, Any]:
    from streaming.io.scrape import OURS, PREFIX

    recommend, features, learn = (now[job] for job in JOBS)

    def rate(job: str, name: str) -> float:
        return round((now[job].total(name) - before[job].total(name)) / seconds, 1)

    def quantiles(job: "Snapshot", name: str) -> dict[str, float | None]:
        return {f"p{100 * float(q):g}": job.largest(name, quantile=q) for q in ("0.5", "0.99")}

    def of_a_slate(name: str) -> float | None:
        seen = learn.total(f"{OURS}surface_seen_slates_total")
        return round(learn.total(f"{OURS}surface_{name}_total") / seen, 4) if seen else None

    source = {"operator_name": "Source:_shoppers"}
    places = recommend.total(f"{OURS}places_total")
    cents = of_a_slate("revenue_cents")
    return {
        "clicks_of_a_seen_slate": of_a_slate("clicks"),
        "purchases_of_a_seen_slate": of_a_slate("purchases"),
        "revenue_of_a_seen_slate": None if cents is None else round(cents / 100, 4),
        "explored_share": round(recommend.total(f"{OURS}explored_places_total") / places, 4) if places else None,
        "constraints_violated_percent": {
            f"{labels['scope']} {labels['constraint']}": None if value < 0 else value
            for labels, value in learn.samples(f"{OURS}scope_constraint_violated_percent")
        },
        "feedback": learn.by(f"{OURS}fate_feedback_total", "fate"),
        "estimates_version": learn.largest(f"{OURS}estimates_version"),
        "events_per_second": rate("recommend", f"{OURS}topic_events_total"),
        "events": recommend.total(f"{OURS}topic_events_total"),
        "slates": recommend.by(f"{OURS}fallback_slates_total", "fallback"),
        "late": recommend.total(f"{OURS}late_total"),
        "repeats": recommend.total(f"{OURS}repeats_total"),
        "dead_letters": recommend.by(f"{OURS}reason_dead_letters_total", "reason"),
        "policy_version": recommend.largest(f"{OURS}policy_version"),
        "suspicious_prices": recommend.largest(f"{OURS}suspicious_prices"),
        "queue_ms": recommend.largest(f"{PREFIX}currentEmitEventTimeLag", **source),
        "pending_records": recommend.total(f"{PREFIX}pendingRecords", **source),
        "model_us": quantiles(recommend, f"{OURS}model_time_us"),
        "weigh_us": quantiles(recommend, f"{OURS}weigh_time_us"),
        "answer_us": quantiles(recommend, f"{OURS}answer_time_us"),
        "rows_written_per_second": rate("features", f"{OURS}rows_written_total"),
        "feature_log_lag_ms": features.largest(f"{OURS}feature_log_lag_ms"),
        "store_us": quantiles(features, f"{OURS}store_time_us"),
    }


def _table(figures: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(title="Rheostat", show_header=False)
    for name, value in figures.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        shown = [pair for pair in inner if pair[1] or name not in _SPARSE] or [("", None)]
        words = "  ".join(
            f"{label} {NOTHING if figure is None else f'{figure:,.10g}'}".strip() for label, figure in shown
        )
        table.add_row(name.replace("_", " "), words)
    return table
