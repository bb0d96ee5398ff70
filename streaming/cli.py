"""The command `rheostat`. Each sub-command reads its options, runs, and ends with a short summary."""

import contextlib
import dataclasses
import importlib.util
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from features.interaction import Interaction

# What a sub-command needs is imported when it runs: Feast alone takes seconds.
app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
bench = typer.Typer(no_args_is_help=True, help="Measure; nothing else should run beside it.")
log = typer.Typer(no_args_is_help=True, help="The log of the feature rows that were scored.")
app.add_typer(bench, name="bench")
app.add_typer(log, name="log")

Bootstrap = Annotated[
    str, typer.Option("--bootstrap-servers", envvar="RHEOSTAT_BOOTSTRAP_SERVERS", help="Of the Kafka broker.")
]
Model = Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of a model artifact.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]
FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
From = Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="UTC; event time, this included.")]
To = Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="UTC; event time, this left out.")]
MODEL = Path("onnx_models/artifacts/generator")
HOME = Path(".local/up")  # where `up` keeps its data, so where the others look for them
DATA = HOME / "feast" / "data"
FOR_EVER_MS = 1 << 62
DATASETS = ("jdata", "taobao", "diginetica", "retailrocket", "yoochoose", "rees46", "otto", "completejourney")


class OnlineStoreKind(StrEnum):
    SQLITE = "sqlite"
    CASSANDRA = "cassandra"


@app.command()
def up(
    online_store: Annotated[OnlineStoreKind, typer.Option(help="Of Feast.")] = OnlineStoreKind.SQLITE,
    model: Model = MODEL,
    home: Annotated[Path, typer.Option(help="Of all data and logs; is emptied first.")] = HOME,
) -> None:
    """Start broker, online store and both jobs on this machine, with the simulated shop's items, until Ctrl-C."""
    _assert_checkout()
    from features.simulator import shop
    from infra.local.process import StartError
    from infra.local.stack import JobError, local_stack
    from onnx_models.artifact import ArtifactError
    from streaming.io.probes import NotReadyError

    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        _errors(StartError, JobError, NotReadyError, ArtifactError, FileNotFoundError),
        contextlib.ExitStack() as running,
    ):
        with console.status("starting Kafka, Feast and two Flink jobs, and warming them up (about a minute) …"):
            stack = running.enter_context(local_stack(home, model.resolve(), shop.items(), store=online_store.value))
        for name, value in (
            ("bootstrap servers", stack.bootstrap_servers),
            ("online store", online_store.value),
            ("Feast repo", f"{stack.feast_repo}  (feast -c {stack.feast_repo} ui)"),
            ("logs", f"{home}/*.log"),
        ):
            console.print(f"{name:17}  [bold]{escape(value)}", highlight=False, soft_wrap=True)
        console.print("ready; Ctrl-C stops everything")
        while True:
            stack.assert_running()
            time.sleep(1.0)
    console.print("stopped")


@app.command()
def replay(
    dataset: Annotated[str, typer.Argument(help=f"One of: {', '.join(DATASETS)}.")],
    bootstrap_servers: Bootstrap,
    path: Annotated[Path | None, typer.Argument(help="Folder or file of the log; none for completejourney.")] = None,
    speed: Annotated[str, typer.Option(help="Times the log's own pace, or `max`: as fast as answered.")] = "max",
    rate: Annotated[float | None, typer.Option(min=0.001, help="Events per second, in place of --speed.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many events.")] = None,
    keep_times: Annotated[
        bool, typer.Option(help="Event times as in the log; by default the last event happens when it is sent.")
    ] = False,
    patience_s: Annotated[float, typer.Option(min=1, help="Without any answer, after which it gives up.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Replay a public log onto the topics, and account for every event; exit 1 if one has no answer.

    Example: rheostat replay jdata data/jdata_micro --speed max
    """
    from confluent_kafka import KafkaException

    from features.datasets.files import DatasetError
    from streaming.io import replay as replaying
    from streaming.io.feed import Feed
    from streaming.io.topics import TopicError, partitions
    from streaming.schemas import Topic

    console = Console(stderr=as_json)
    with _errors(DatasetError, TopicError, KafkaException, TimeoutError):
        opened = _dataset(dataset).open_log(path)
        for topic in (Topic.RECOMMENDATIONS, Topic.DEAD_LETTERS):
            partitions(bootstrap_servers, topic)
        begin_ms, end_ms = opened.span_ms
        pace, takes_s = _pace(speed, rate, end_ms - begin_ms, len(opened))
        count = len(opened) if limit is None else min(limit, len(opened))
        events: Iterator[Interaction] = itertools.islice(opened.interactions(), count)
        if not keep_times:
            events = replaying.moved(events, time.time_ns() // 1_000_000 + round(takes_s * 1000) - end_ms)
        with Feed(bootstrap_servers) as feed, console.status("items …"):
            items = opened.items()
            feed.items(items)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(dataset, total=count)
            account = replaying.Replay(bootstrap_servers, pace, patience_s).run(
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
    _print_json(figures, as_json)
    raise typer.Exit(0 if account.is_whole else 1)


def _dataset(name: str) -> Any:
    from features.datasets.registry import DATASETS as REGISTRY

    if name not in REGISTRY:
        _say(f"rheostat: there is no log `{name}`; expected one of {', '.join(REGISTRY)}", Console(stderr=True))
        raise typer.Exit(2)
    return REGISTRY[name]


def _pace(speed: str, rate: float | None, span_ms: int, count: int) -> tuple[Any, float]:
    """Return the pace and how long a log takes by it, s."""
    from streaming.io import replay as replaying

    if rate is not None:
        return replaying.at_rate(rate), count / rate
    if speed == "max":
        return replaying.as_fast_as_answered, 0.0
    try:
        factor = float(speed)
    except ValueError:
        factor = 0.0
    if not factor > 0:
        msg = f"{speed!r}; expected a number above 0, or `max`"
        raise typer.BadParameter(msg, param_hint="--speed")
    return replaying.at_speed(factor), span_ms / 1000 / factor


def _account(figures: dict[str, Any], console: Console) -> None:
    table = Table(title="Every row of the log", show_header=False)
    table.add_row("rows", f"{figures['rows']:,}")
    rows = [("scored", figures["scored"]), ("late, scored", figures["late"])]
    rows += [(f"filtered: {why}", count) for why, count in figures["filtered"].items()]
    rows += [(f"dead-lettered: {why}", count) for why, count in figures["dead_letters"].items()]
    rows += [("beyond --limit", figures["beyond_limit"]), ("unanswered", figures["unanswered"])]
    for name, count in rows:
        table.add_row(f"  {name}", f"{count:,}")
    console.print(table)
    _say(
        f"{figures['sent']:,} events and {figures['items']:,} items sent in {figures['seconds']:.1f} s "
        f"({figures['per_second']:,} events/s); {figures['popular']:,} slates are of popular items",
        console,
    )


@log.command("sink")
def log_sink(
    bootstrap_servers: Bootstrap,
    out: Annotated[Path, typer.Option(help="Folder `data` of the Feast repo; goes on where it stopped.")] = DATA,
    once: Annotated[bool, typer.Option(help="Stop at the logs' present end.")] = False,
    batch_rows: Annotated[int, typer.Option(min=1, help="Of a file, at most.")] = 50_000,
    batch_s: Annotated[float, typer.Option(min=0.1, help="After which a file is written.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Land the topics feature-log and items as Parquet, partitioned by date, where Feast looks for them."""
    from confluent_kafka import KafkaException

    from streaming.io.topics import TopicError
    from streaming.log.sink import Landed, land

    console = Console(stderr=as_json)
    with _stopping() as stop, _errors(KafkaException, TopicError, OSError), console.status("landing …") as status:

        def progress(landed: dict[str, Landed]) -> None:
            status.update("  ".join(f"{topic} {each.rows:,} rows" for topic, each in landed.items()))

        landed = land(bootstrap_servers, out, once, batch_rows, batch_s, progress, stop.is_set)
    for topic, each in landed.items():
        bad = f", {each.undecodable:,} were undecodable (see dead-letters)" if each.undecodable else ""
        _say(f"{topic}: {each.rows:,} rows landed in {each.files:,} files below {out}{bad}", console)
    _print_json({topic: dataclasses.asdict(each) for topic, each in landed.items()}, as_json)


@app.command("train-set")
def train_set(
    out: Annotated[Path, typer.Option(help="Parquet file; is replaced.")],
    log_folder: Annotated[Path, typer.Option("--log", help="Folder that `rheostat log sink` filled.")] = (
        DATA / "feature_log"
    ),
    from_: From = None,
    to: To = None,
    horizon_s: Annotated[float, typer.Option(min=1, help="For which a label looks ahead.")] = 1800.0,
    as_json: AsJson = False,
) -> None:
    """Make training examples: every row as it was scored, and what the shopper did next."""
    from streaming.log import training_set

    console = Console(stderr=as_json)
    with _errors(training_set.TrainingSetError, OSError):
        horizon_ms = round(horizon_s * 1000)
        made = training_set.build(log_folder, _ms(from_, 0), _ms(to, FOR_EVER_MS), horizon_ms, out)
    _summary(
        f"{made.rows:,} examples in {out}: {made.next_views:,} with a next view, {made.carts:,} carts, "
        f"{made.purchases:,} purchases, revenue {made.revenue:,.2f}; left out: {made.censored:,} whose horizon ends "
        f"after the log, {made.repeated:,} logged twice",
        made,
        console,
        as_json,
    )


@app.command()
def parity(
    bootstrap_servers: Bootstrap,
    model: Model = MODEL,
    from_: From = None,
    to: To = None,
    as_json: AsJson = False,
) -> None:
    """Make every logged row again from the raw topics and compare to the bit; exit 1 if one differs or is missing."""
    from confluent_kafka import KafkaException

    from onnx_models.artifact import ArtifactError
    from streaming.io.topics import TopicError
    from streaming.log.parity import check

    console = Console(stderr=as_json)
    with _errors(KafkaException, TopicError, ArtifactError), console.status("reading …") as status:

        def progress(what: str, count: int) -> None:
            status.update(f"{what}: {count:,}")

        report = check(bootstrap_servers, model, _ms(from_, 0), _ms(to, FOR_EVER_MS), progress)
    for what, found in (("first difference", report.first_difference), ("first missing", report.first_missing)):
        if found:
            _say(f"{what}: {found}", console)
    _summary(
        f"{report.equal:,} rows equal to the bit, {report.different:,} different, {report.missing:,} missing, "
        f"{report.without_history:,} whose history is no longer on the topics; session vectors: "
        f"{report.vectors_equal:,} equal, {report.vectors_different:,} different, "
        f"{report.vectors_of_another_model:,} of another model; {report.undecodable:,} records of the log undecodable",
        report,
        console,
        as_json,
    )
    if not report.equal and not report.different:
        _say("rheostat: no row was compared; is there a log, and a row of that time in it?", Console(stderr=True))
    raise typer.Exit(0 if report.is_parity else 1)


@bench.command("features")
def bench_features(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the JData sample, measured too.")] = None,
    model: Model = MODEL,
    events: Annotated[int, typer.Option(min=1_000, help="Of the simulated shop.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Measure a state update with its feature row on one core, and what the state of a shopper weighs."""
    _assert_checkout()
    from features.datasets.files import DatasetError
    from infra.bench.features import measure
    from onnx_models.artifact import ArtifactError

    console = Console(stderr=as_json)
    with _errors(DatasetError, ArtifactError):
        figures = measure(model, events, data_dir, console)
    _print_json(figures, as_json)


@bench.command("feast")
def bench_feast(
    home: Annotated[Path, typer.Option(help="Of all data; is emptied first.")] = Path(".local/bench-feast"),
    rows: Annotated[int, typer.Option(min=10, help="Written a round to our stores.")] = 2_000,
    as_json: AsJson = False,
) -> None:
    """Measure writes and reads of both online stores beside Feast's own stores on the same servers."""
    _assert_checkout()
    from infra.bench.feast import measure
    from infra.local.process import StartError

    console = Console(stderr=as_json)
    with _errors(StartError):
        figures = measure(home, rows, console)
    _print_json(figures, as_json)


def _assert_checkout() -> None:
    """Servers and benchmarks are not part of the wheel."""
    if importlib.util.find_spec("infra") is None:
        _say("rheostat: this command runs from a checkout of the project, after `make setup`", Console(stderr=True))
        raise typer.Exit(2)


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield what is set when Ctrl-C or SIGTERM comes; a second one is not waited for."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn what an operator can mend into one message and exit code 2."""
    try:
        yield
    except kinds as error:
        _say(f"rheostat: {error}", Console(stderr=True))
        raise typer.Exit(2) from error


def _summary(words: str, figures: Any, console: Console, as_json: bool) -> None:
    _say(words, console)
    _print_json(dataclasses.asdict(figures), as_json)


def _say(words: str, console: Console) -> None:
    """Print `words` as they are: what comes from a record may look like markup."""
    console.print(words, markup=False, highlight=False, soft_wrap=True)


def _print_json(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")


def _ms(moment: datetime | None, default: int) -> int:
    return default if moment is None else round(moment.replace(tzinfo=UTC).timestamp() * 1000)
