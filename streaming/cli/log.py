"""Commands about logs: public ones onto the topics, and the log of what was scored."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streaming.cli.group import fail, group
from streaming.cli.options import (
    DATA,
    FOR_EVER_MS,
    MODEL,
    AsJson,
    From,
    OnCluster,
    To,
    errors,
    print_json,
    printer,
    say,
    stopping,
    to_ms,
)
from streaming.jobs.options import Model
from streaming.storage import AnyPath, path_of

if TYPE_CHECKING:
    from rich.console import Console

log = group("The log of the feature rows that were scored.")
DATASETS = ("jdata", "taobao", "diginetica", "retailrocket", "yoochoose", "rees46", "otto", "completejourney")


def replay(
    dataset: Annotated[str, typer.Argument(help=f"One of: {', '.join(DATASETS)}.")],
    cluster: OnCluster,
    path: Annotated[Path | None, typer.Argument(help="Folder or file of the log; none for completejourney.")] = None,
    speed: Annotated[str, typer.Option(help="Times the log's own pace, or `max`: as fast as answered.")] = "max",
    rate: Annotated[float | None, typer.Option(min=0.001, help="Events per second, in place of --speed.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many events.")] = None,
    keep_times: Annotated[
        bool, typer.Option(help="Event times as in the log; by default they end now, or when the last event is sent.")
    ] = False,
    patience_s: Annotated[float, typer.Option(min=1, help="Without any answer, after which it gives up.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Replay a public log onto the topics, and account for every event; exit 1 if one has no answer.

    Example: rheostat replay jdata data/jdata_micro --speed max
    """
    from confluent_kafka import KafkaException

    from features.progress import Bar
    from streaming.io import replay as replaying
    from streaming.io.feed import Feed
    from streaming.io.topics import partitions
    from streaming.schemas import Topic

    console = printer(as_json)
    with errors(KafkaException):
        opened = _dataset(dataset).open_log(path)
        for topic in (Topic.RECOMMENDATIONS, Topic.DEAD_LETTERS):
            partitions(cluster, topic)
        sent = opened if limit is None else opened.first(limit)
        events, count = sent.interactions(), len(sent)
        begin_ms, end_ms = sent.span_ms
        pace, takes_ms = _pace(speed, rate, end_ms - begin_ms)
        if not keep_times:  # the last one happens when it is sent, or none would happen before it is sent
            events = replaying.moved(events, time.time_ns() // 1_000_000 + takes_ms - end_ms)
        with Feed(cluster) as feed, console.status("items …"):
            items = opened.items()
            feed.items(items)
        with Bar(console) as progress:
            task = progress.add_task(dataset, total=count)
            account = replaying.Replay(cluster, pace, patience_s).run(
                events, lambda account: progress.update(task, completed=account.sent)
            )
    figures = {
        "rows": opened.rows,
        "filtered": opened.filtered,
        "beyond_limit": len(opened) - count,
        "items": len(items),
        **dataclasses.asdict(account),
        "per_second": round(account.sent / max(account.seconds, 1e-9), 1),
    }
    _account(figures, console)
    if account.late:
        say(
            "late: behind what of their shopper is settled already. That is more than 5 s of event time before a newer "
            "event (of an earlier replay, perhaps), or one of more than eight within 5 s",
            console,
        )
    print_json(figures, as_json)
    raise typer.Exit(0 if account.is_whole else 1)


def _dataset(name: str) -> Any:
    from features.sources.datasets.registry import DATASETS as REGISTRY

    if name not in REGISTRY:
        fail(f"there is no log `{name}`; expected one of {', '.join(REGISTRY)}")
    return REGISTRY[name]


def _pace(speed: str, rate: float | None, span_ms: int) -> tuple[Any, int]:
    """Return the pace, and by how much the last event may lie ahead of now so that none lies ahead when it is sent."""
    from streaming.io import replay as replaying

    if rate is not None:
        return replaying.at_rate(rate), 0
    if speed == "max":
        return replaying.as_fast_as_answered, 0
    try:
        factor = float(speed)
    except ValueError:
        factor = 0.0
    if not factor > 0:
        msg = f"{speed!r}; expected a number above 0, or `max`"
        raise typer.BadParameter(msg, param_hint="--speed")
    return replaying.at_speed(factor), round(min(span_ms / factor, span_ms))


def _account(figures: dict[str, Any], console: "Console") -> None:
    from rich.table import Table

    table = Table(title="Every row of the log", show_header=False)
    table.add_row("rows", f"{figures['rows']:,}")
    rows = [("scored", figures["scored"]), ("late, scored", figures["late"])]
    rows += [(f"filtered: {why}", count) for why, count in figures["filtered"].items()]
    rows += [(f"dead-lettered: {why}", count) for why, count in figures["dead_letters"].items()]
    rows += [("beyond --limit", figures["beyond_limit"]), ("unanswered", figures["unanswered"])]
    for name, count in rows:
        table.add_row(f"  {name}", f"{count:,}")
    console.print(table)
    say(
        f"{figures['sent']:,} events and {figures['items']:,} items sent in {figures['seconds']:.1f} s "
        f"({figures['per_second']:,} events/s); {figures['popular']:,} slates are of popular items",
        console,
    )


@log.command("sink")
def log_sink(
    cluster: OnCluster,
    out: Annotated[
        AnyPath,
        typer.Option(
            parser=path_of, metavar="PATH", help="Folder `data` of the Feast repo, or a URI; goes on where it stopped."
        ),
    ] = DATA,
    once: Annotated[bool, typer.Option(help="Stop at the logs' present end.")] = False,
    batch_rows: Annotated[int, typer.Option(min=1, help="Of a file, at most.")] = 50_000,
    batch_s: Annotated[float, typer.Option(min=0.1, help="After which a file is written.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Land feature rows, items, outcomes, policies, returns as Parquet, by date: for Feast, `train-set`, `evaluate`.

    Exit 1 if the retention has taken records before they landed. A topic that was made anew is refused, and what has
    landed of the old one stays. Example: rheostat log sink --once
    """
    from confluent_kafka import KafkaException

    from streaming.offline.sink import Landed, land

    console = printer(as_json)
    with stopping() as stop, errors(KafkaException, OSError), console.status("landing …") as status:

        def progress(landed: dict[str, Landed]) -> None:
            status.update("  ".join(f"{name} {result.rows:,} rows" for name, result in landed.items()))

        landed = land(cluster, out, once, batch_rows, batch_s, progress, stop.is_set)
    for name, result in landed.items():
        bad = f", {result.undecodable:,} were undecodable (see dead-letters)" if result.undecodable else ""
        gone = f", {result.missing:,} records were gone before they could land" if result.missing else ""
        say(f"{name}: {result.rows:,} rows landed in {result.files:,} files below {out}{bad}{gone}", console)
    print_json({name: dataclasses.asdict(result) for name, result in landed.items()}, as_json)
    raise typer.Exit(1 if any(result.missing for result in landed.values()) else 0)


def train_set(
    out: Annotated[AnyPath, typer.Option(parser=path_of, metavar="PATH", help="Parquet file or its URI; is replaced.")],
    log_folder: Annotated[
        AnyPath,
        typer.Option("--log", parser=path_of, metavar="PATH", help="Folder or URI that `rheostat log sink` filled."),
    ] = (DATA / "feature_log"),
    from_: From = None,
    to: To = None,
    horizon_s: Annotated[float, typer.Option(min=1, help="For which a label looks ahead.")] = 1800.0,
    as_json: AsJson = False,
) -> None:
    """Make training examples: every row as it was scored, and what the shopper did next.

    Example: rheostat train-set --from 2026-11-24 --to 2026-11-25 --out set.parquet
    """
    from streaming.offline import training_set

    console = printer(as_json)
    with errors(OSError):
        horizon_ms = round(horizon_s * 1000)
        summary = training_set.build(log_folder, to_ms(from_, 0), to_ms(to, FOR_EVER_MS), horizon_ms, out)
    _summary(
        f"{summary.rows:,} examples in {out}: {summary.next_views:,} with a next view, {summary.carts:,} carts, "
        f"{summary.purchases:,} purchases, revenue {summary.revenue:,.2f}; "
        f"of {summary.returned:,} purchases something came back; "
        f"left out: {summary.censored:,} whose horizon ends after the log, {summary.repeated:,} logged twice",
        summary,
        console,
        as_json,
    )


def parity(
    cluster: OnCluster,
    model: Model = MODEL,
    from_: From = None,
    to: To = None,
    as_json: AsJson = False,
) -> None:
    """Make every logged row again from the raw topics and compare to the bit; exit 1 if one differs or is missing.

    Example: rheostat parity --json
    """
    from confluent_kafka import KafkaException

    from streaming.offline.parity import check

    console = printer(as_json)
    with errors(KafkaException), console.status("reading …") as status:

        def progress(what: str, count: int) -> None:
            status.update(f"{what}: {count:,}")

        report = check(cluster, model, to_ms(from_, 0), to_ms(to, FOR_EVER_MS), progress)
    for what, example in (("first difference", report.first_difference), ("first missing", report.first_missing)):
        if example:
            say(f"{what}: {example}", console)
    _summary(
        f"{report.equal:,} rows equal to the bit, and {report.requests_equal:,} of requests, "
        f"{report.different:,} different, {report.missing:,} missing, "
        f"{report.without_history:,} whose history is no longer on the topics; session vectors: "
        f"{report.vectors_equal:,} equal, {report.vectors_different:,} different, "
        f"{report.vectors_of_another_model:,} of another model; {report.undecodable:,} records of the log undecodable",
        report,
        console,
        as_json,
    )
    if not report.equal and not report.requests_equal and not report.different:
        say("rheostat: no row was compared; is there a log, and a row of that time in it?", printer(True))
    raise typer.Exit(0 if report.is_parity else 1)


def _summary(words: str, figures: Any, console: "Console", as_json: bool) -> None:
    say(words, console)
    print_json(dataclasses.asdict(figures), as_json)
