"""Commands about what runs on this machine."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer

from features.errors import ItemFileError, NotReadyError, RheostatError
from infra.cli.at_work import at_work, check_machine, check_model
from infra.local.home import claim, remembered
from infra.local.owner import left_behind, names_of, owner_of, owning, stop_left_behind
from infra.local.steps import SILENT_AT_MOST_S, Steps
from streaming.cli import running as runs
from streaming.cli.group import fail
from streaming.cli.items import Columns, ColumnsFile, Delimiter, load_file, open_file
from streaming.cli.options import MODEL, AsJson, OnCluster, errors, print_json, printer, say, stopping
from streaming.cli.running import HOME, Running, running
from streaming.config import MODEL_VARIABLE, Cluster
from streaming.jobs.options import Model

if TYPE_CHECKING:
    from rich.console import Console

STOP_TIMEOUT_S = 120.0
DOOR_PORT = 8780
A_STEP = re.compile(r" *\d+ s  ")  # what begins a line of Steps
SIMULATED, OWN = "simulated", "own"  # whose items are on sale
LastModel = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        envvar=MODEL_VARIABLE,
        help="Folder of a model artifact.",
        show_default=f"the last one, or {MODEL}",
    ),
]
Home = Annotated[Path, typer.Option(help="Of all data and logs.")]


class OnlineStoreKind(StrEnum):
    SQLITE = "sqlite"
    CASSANDRA = "cassandra"


def up(
    online_store: Annotated[
        OnlineStoreKind | None, typer.Option(help="Of Feast.", show_default="the last one, or sqlite")
    ] = None,
    model: LastModel = None,
    items: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A catalogue, as for `rheostat items load`.",
        ),
    ] = None,
    column: Columns = None,
    columns: ColumnsFile = None,
    delimiter: Delimiter = ",",
    home: Home = HOME,
    fresh: Annotated[bool, typer.Option("--fresh", help="Empty the folder that `up` made, and begin anew.")] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Of the HTTP door; 0: any that is free.", show_default=f"{DOOR_PORT}"),
    ] = None,
    cluster: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Run the jobs on a Flink cluster of N TaskManagers.",
            show_default="each in a process of its own",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option(help="Come back when everything is ready; `rheostat down` stops it.")] = False,
) -> None:
    """Start broker, online store, all jobs and the HTTP door here, with a shop's items, until Ctrl-C.

    The items are the simulated shop's, or those of --items. It goes on from what the last `up` has left in --home: its
    items, its model, the jobs from their savepoints; and touches no folder that it has not made. Where something runs
    already it says what, and starts nothing.

    Example: rheostat up --items products.csv --model onnx_models/mine --detach
    """
    console = printer()
    running_stack = running(home)
    if running_stack is not None:
        say(f"already running (process {running_stack.pid}); `rheostat down` stops it", console)
        _show(running_stack, home, console)
        _refuse_other(running_stack, online_store, model, items, port, cluster, fresh)
        return
    port = DOOR_PORT if port is None else port
    last = {} if fresh else remembered(home)
    store = online_store or OnlineStoreKind(last.get("online_store", OnlineStoreKind.SQLITE))
    artifact = (model or Path(last.get("model", MODEL))).resolve()
    own = None if items is None else open_file(items, column, columns, delimiter)
    shop = OWN if own is not None else last.get("shop", SIMULATED)
    check_machine(has_cassandra=store is OnlineStoreKind.CASSANDRA)
    check_model(artifact)
    claim(home, "up", fresh, {"model": str(artifact)}, online_store=store.value, shop=shop)
    if detach:
        options = ["--home", str(home), "--port", f"{port}", "--delimiter", delimiter]
        options += ["--items", str(items)] if items else []
        options += ["--cluster", f"{cluster}"] if cluster else []
        options += ["--columns", str(columns)] if columns else []
        options += [word for option in column or () for word in ("--column", option)]
        _start_detached(options, home, console)
        return
    from features.sources.simulator import shop as simulated
    from infra.local.door import local_door
    from infra.local.stack import local_stack

    loads = []

    def load(cluster: Cluster) -> None:
        if own is None:
            return
        loads.append(load_file(own, cluster, True, console))
        if not loads[0].kept:
            msg = f"no line of {own.path} has an item that can be used"
            raise ItemFileError(msg)

    with contextlib.suppress(KeyboardInterrupt), errors(OSError), contextlib.ExitStack() as stack_of:
        stack_of.enter_context(owning(home))
        steps = Steps(console)
        on_sale = simulated.items() if shop == SIMULATED else []
        stack = stack_of.enter_context(
            local_stack(
                home,
                artifact,
                on_sale,
                store=store.value,
                task_managers=cluster or 0,
                before_jobs=load,
                steps=steps,
            )
        )
        repo = "--feast-repo", str(stack.feast_repo)
        with steps, steps.step("the HTTP door is open"):
            door = stack_of.enter_context(local_door(home, stack.cluster, artifact, *repo, port=port))
        runs.write(
            home,
            cluster=stack.cluster,
            online_store=store.value,
            feast_repo=str(stack.feast_repo),
            model=str(artifact),
            metrics={job.name: job.metrics_url for job in stack.jobs},
            flink=stack.flink.url if stack.flink else "",
            task_managers=cluster or 0,
            door=door.url,
            has_own_items=shop == OWN,
            loaded="\n".join(map(str, loads)),
        )
        stack_of.callback(runs.clear, home)
        ready = running(home)
        assert ready is not None
        _show(ready, home, console)
        say(f"{'items':17}  {_overlap(ready)}", console)
        say("ready; Ctrl-C stops everything", console)
        while True:
            stack.assert_running()
            door.assert_running()
            time.sleep(1.0)
    console.print("stopped")


def down(home: Home = HOME) -> None:
    """Stop what runs in --home, the jobs with savepoints, and what a killed command has left there; exit 1 if nothing.

    That may be a start that is on its way, too, a demo or a benchmark.

    Example: rheostat down
    """
    import psutil

    console = printer()
    process = owner_of(home)
    if process is not None:
        with Steps(console) as steps, steps.step(f"process {process.pid} has stopped everything"):
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT_S)
                say(f"process {process.pid} was killed: it had not stopped within {STOP_TIMEOUT_S:.0f} s", console)
    left = left_behind().get(str(home.resolve()), [])
    if left:
        say(f"an earlier run has left {names_of(left)}", console)
        with Steps(console) as steps, steps.step("it has stopped"):
            stop_left_behind(home)
        runs.clear(home)
    if process is None and not left:
        say("nothing runs here", console)
        raise typer.Exit(1)
    say("stopped", console)


def status(home: Home = HOME, as_json: AsJson = False) -> None:
    """Say what runs here and whether it answers; exit 1 if something does not, or nothing runs.

    Example: rheostat status --json
    """
    from rich.table import Table
    from rich.text import Text

    console = printer(as_json)
    stack = running(home)
    left = {of: names_of(processes) for of, processes in left_behind().items()}
    for of, processes in left.items():
        say(f"an earlier run has left {processes}: `rheostat down --home {of}` stops that", console)
    if stack is None:
        starting = owner_of(home)
        words = "nothing runs here; `rheostat up` starts it"
        if starting is not None:
            since_s = time.time() - starting.create_time()
            words = f"process {starting.pid} starts it since {since_s:.0f} s; {home}/*.log say how far it is"
        say(words, console)
        print_json({"running": False, "starting": starting is not None, "left_behind": left}, as_json)
        raise typer.Exit(1)
    answers = _answers(stack)
    _show(stack, home, console)
    table = Table("what", "answers", "")
    for name, (is_there, words) in answers.items():
        table.add_row(name, Text("yes") if is_there else Text("no", "red"), words)
    console.print(table)
    figures = {name: {"answers": is_there, "says": words} for name, (is_there, words) in answers.items()}
    print_json({"running": True, **msgspec.to_builtins(stack), "parts": figures, "left_behind": left}, as_json)
    is_well = all(is_there for is_there, _ in answers.values()) and str(home.resolve()) not in left
    raise typer.Exit(0 if is_well else 1)


def doctor(as_json: AsJson = False) -> None:
    """Look for everything that Rheostat needs on this machine, and say what to do where it is missing.

    Exit 1 if something is missing that the main job needs. Example: rheostat doctor
    """
    from rich.table import Table
    from rich.text import Text

    from infra.local.doctor import examine

    console = printer(as_json)
    findings = examine()
    table = Table("", "what", "found", "what to do")
    for finding in findings:
        missing = Text("missing", "red") if finding.is_needed else Text("missing, optional", "yellow")
        sign = Text("ok", "green") if finding.is_fine else missing
        table.add_row(sign, finding.what, finding.found, "" if finding.is_fine else finding.remedy)
    console.print(table)
    lacks = [finding.what for finding in findings if not finding.is_fine and finding.is_needed]
    say(f"missing: {', '.join(lacks)}" if lacks else "everything that is needed is there", console)
    print_json([finding._asdict() for finding in findings], as_json)
    raise typer.Exit(1 if lacks else 0)


def demo(
    data: Annotated[str, typer.Option(help="`generator`, the simulated shop, or `jdata`, a real log.")] = "generator",
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the log, for jdata.")] = None,
    model: Model = MODEL,
    seconds: Annotated[float, typer.Option(min=5, help="Of traffic.")] = 90.0,
    rate: Annotated[float, typer.Option(min=1, help="Events per second.")] = 100.0,
    home: Annotated[Path, typer.Option(help="Of all data; that of the last demo goes.")] = Path(".local/demo"),
    as_json: AsJson = False,
) -> None:
    """Show the main job at work: it learns from how shoppers react, is turned by a policy, and meets a shock.

    Exit 1 if an event or a page got no slate. Example: rheostat demo --seconds 180
    """
    from infra.local.demo import run

    if data not in ("generator", "jdata"):
        fail(f"--data {data}: expected generator or jdata")
    console = printer(as_json)
    with errors(OSError), at_work(home, "demo", console, model) as claimed:
        figures = run(data, data_dir, model.resolve(), claimed, seconds, rate, console)
    print_json(figures, as_json)
    whole = figures["slates"] == figures["events"] and figures["page_slates"] == figures["pages"]
    raise typer.Exit(0 if whole else 1)


def traffic(
    cluster: OnCluster,
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 60.0,
    rate: Annotated[float, typer.Option(min=1, help="Events per second.")] = 100.0,
    seed: Annotated[int | None, typer.Option(help="Of the shoppers.", show_default="by the clock")] = None,
    model: Model = MODEL,
    as_json: AsJson = False,
) -> None:
    """Let the simulated shop's shoppers in, who react to the slates they get; a tenth is shown popular items instead.

    They open pages, search and list categories, too. Exit 1 if an event or a page got no slate.

    Example: rheostat traffic --seconds 30 --rate 200
    """
    from confluent_kafka import KafkaException

    if (stack := running(HOME)) is not None and stack.cluster == cluster and stack.has_own_items:
        fail("the shop that runs here has items of its own, which the simulated shop's shoppers do not know")
    from features.sources.simulator.shop import Parameters, Shop
    from infra.local.stream import click_through, let_in
    from infra.local.traffic import PAGE, ShopTraffic
    from streaming.io.feed import Feed

    console = printer(as_json)
    with errors(KafkaException), Feed(cluster) as feed:
        # Other shoppers each time: an event that has come before counts once.
        number = time.time_ns() // 1_000_000 if seed is None else seed
        shoppers = ShopTraffic(model.resolve(), Shop(number, Parameters(page=PAGE)))
        feed.new_items(shoppers.items())
        figures = let_in(shoppers, feed, cluster, round(seconds * rate), rate, console)
    summary = figures.summary()
    say("  ".join(f"{name} {value:,}" for name, value in summary.items()), console)
    say(f"click-through of slates that were looked at: {click_through(shoppers)}", console)
    print_json(summary | {"click_through": shoppers.click_through()}, as_json)
    raise typer.Exit(0 if figures.is_whole else 1)


def _start_detached(options: Sequence[str], home: Path, console: "Console") -> None:
    from infra.local.process import Progress, stop

    log = home / "up.log"
    command = [sys.executable, "-m", "streaming.cli.main", "up", *options]
    # Its own signals alone end it; this process only notes the signals: none comes between its start and its end.
    with stopping() as interrupted, log.open("wb") as sink:
        child = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
        progress = Progress(child, log)
        with Steps(console, 2 * SILENT_AT_MOST_S) as steps, steps.step("everything is ready") as said:
            lines = 0
            while (stack := running(home)) is None or stack.pid != child.pid:
                if interrupted.wait(0.2):
                    stop(child, STOP_TIMEOUT_S)
                    say("interrupted; everything that was started is stopped", console)
                    raise typer.Exit(130)
                if child.poll() is not None:
                    stop_left_behind(home)  # by one that was killed
                    words = log.read_text(encoding="utf-8", errors="replace")
                    fail(f"it did not start, and ended with {child.returncode}:\n{words}")
                if (why := progress.stuck()) is not None:
                    stop(child, STOP_TIMEOUT_S)
                    fail(f"it was waited for until it is ready, and {why}; see {log} and {home}/*.log")
                news = log.read_text(encoding="utf-8", errors="replace").splitlines()[lines:]
                lines += len(news)
                for line in filter(A_STEP.match, news):
                    steps.relay(line)
                    said(A_STEP.sub("", line))
    if stack.loaded:
        say(stack.loaded, console)
    _show(stack, home, console)
    say(f"{'items':17}  {_overlap(stack)}", console)
    say("ready; `rheostat down` stops everything", console)


def _refuse_other(
    stack: Running,
    online_store: OnlineStoreKind | None,
    model: Path | None,
    items: Path | None,
    port: int | None,
    cluster: int | None,
    fresh: bool,
) -> None:
    """End where what is asked for is not what runs."""
    others = []
    if online_store is not None and online_store != stack.online_store:
        others.append(f"the online store {online_store.value}")
    if model is not None and model.resolve() != Path(stack.model):
        others.append(f"the model {model}")
    if port and port != urlsplit(stack.door).port:
        others.append(f"the HTTP door at port {port}")
    if cluster is not None and cluster != stack.task_managers:
        others.append(f"a Flink cluster of {cluster} TaskManagers")
    if fresh:
        others.append("a folder begun anew")
    if others:
        fail(f"it runs without what you ask for, {' and '.join(others)}: `rheostat down`, then the same again")
    if items is not None:
        fail(f"it runs, and no items were taken from {items}: `rheostat items load {items}` puts them on sale")


def _show(stack: Running, home: Path, console: "Console") -> None:
    lines = {
        "bootstrap servers": stack.cluster.bootstrap_servers,
        **({"HTTP door": stack.door} if stack.door else {}),
        **({"Flink": f"{stack.flink}  ({stack.task_managers} TaskManagers)"} if stack.flink else {}),
        "online store": stack.online_store,
        "Feast repo": f"{stack.feast_repo}  (feast -c {stack.feast_repo} ui)",
        "model": stack.model,
        **{f"metrics {job}": url for job, url in stack.metrics.items()},
        "logs": f"{home}/*.log",
    }
    for name, value in lines.items():
        say(f"{name:17}  {value}", console)


def _overlap(stack: Running) -> Any:
    from infra.local.vocabulary import overlap

    return overlap(stack.cluster, Path(stack.model))


def _answers(stack: Running) -> dict[str, tuple[bool, str]]:
    from urllib.request import urlopen

    from confluent_kafka import KafkaException

    from streaming.config import FEATURES_GROUP
    from streaming.io.lag import lag
    from streaming.io.scrape import OURS, scrape
    from streaming.io.topics import partitions
    from streaming.schemas import Topic

    def items() -> str:
        there = _overlap(stack)
        if there.is_empty:
            raise NotReadyError(str(there))
        return str(there)

    def answer_of(ask: Any) -> tuple[bool, str]:
        try:
            return True, ask()
        except (OSError, RheostatError, KafkaException) as error:
            return False, str(error)

    def broker() -> str:
        return f"{sum(len(partitions(stack.cluster, topic)) for topic in Topic)} partitions"

    def recommend() -> str:
        now = scrape(stack.metrics["recommend"], "recommend")
        return f"{now.total(f'{OURS}topic_events_total'):,.0f} events, policy {now.largest(f'{OURS}policy_version'):g}"

    def features() -> str:
        now = scrape(stack.metrics["features"], "features")
        behind = lag(stack.cluster, FEATURES_GROUP, Topic.FEATURE_LOG)
        return f"{now.total(f'{OURS}rows_written_total'):,.0f} rows written, {behind} behind at its last checkpoint"

    def learn() -> str:
        now = scrape(stack.metrics["learn"], "learn")
        return f"{now.total(f'{OURS}fate_feedback_total'):,.0f} pieces of feedback joined to their slates"

    def door() -> str:
        with urlopen(f"{stack.door}/readyz", timeout=5) as answer:
            return f"{stack.door} {answer.reason}"

    parts = {
        "broker": broker,
        "items": items,
        "job recommend": recommend,
        "job features": features,
        "job learn": learn,
    } | ({"HTTP door": door} if stack.door else {})
    of_broker = {"broker": answer_of(broker)}
    return of_broker | {
        name: answer_of(ask) if of_broker["broker"][0] else (False, "the broker does not answer")
        for name, ask in parts.items()
        if name != "broker"
    }
