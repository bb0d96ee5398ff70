"""Measurements; nothing else should run beside them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.cli.at_work import at_work
from streaming.cli.group import fail, group
from streaming.cli.options import MODEL, AsJson, errors, print_json, printer
from streaming.jobs.options import Model

PolicyName = Literal["relevance", "four objectives", "and diversity", "and exploration", "everything"]

bench = group("Measure; nothing else should run beside it.")


@bench.command("latency")
def bench_latency(
    rate: Annotated[list[int] | None, typer.Option(min=1, help="Events per second; each a run. [100, 1000]")] = None,
    seconds: Annotated[int, typer.Option(min=2, help="Of a run.")] = 30,
    warm_up: Annotated[int, typer.Option(min=0, help="Seconds at the highest rate, not counted.")] = 30,
    shoppers: Annotated[int, typer.Option(min=2, help="Who are in the shop at a time.")] = 2_000,
    parallelism: Annotated[int, typer.Option(min=1, help="Of the job `recommend`.")] = 1,
    model: Model = MODEL,
    home: Annotated[Path, typer.Option(help="Of all data; that of the last goes.")] = Path(".local/bench"),
    as_json: AsJson = False,
) -> None:
    """Measure the time from a click's send to its slate's receipt, and the CPU it costs.

    Example: rheostat bench latency --rate 100 --rate 1000 --seconds 20
    """
    from infra.bench.latency import measure

    console = printer(as_json)
    with errors(OSError), at_work(home, "bench", console, model) as claimed:
        figures = measure(
            claimed,
            model.resolve(),
            rate or [100, 1000],
            seconds,
            warm_up,
            shoppers,
            parallelism,
            console,
        )
    print_json(figures, as_json)


@bench.command("serve")
def bench_serve(
    rate: Annotated[int, typer.Option(min=1, help="Requests for slates a second.")] = 500,
    seconds: Annotated[int, typer.Option(min=1)] = 30,
    warm_up: Annotated[int, typer.Option(min=1, help="Seconds of the same before, not counted.")] = 20,
    shoppers: Annotated[int, typer.Option(min=2, help="Who have clicked before.")] = 2_000,
    newcomers: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the requests, of whom nothing is known.")
    ] = 0,
    model: Model = MODEL,
    home: Annotated[Path, typer.Option(help="Of all data; that of the last goes.")] = Path(".local/bench"),
    as_json: AsJson = False,
) -> None:
    """Measure the time from a request for a slate over HTTP to its answer, with everything on this machine.

    Example: rheostat bench serve --rate 500 --json
    """
    from infra.bench.serve import measure

    console = printer(as_json)
    with at_work(home, "bench", console, model) as claimed:
        figures = measure(claimed, model.resolve(), rate, seconds, warm_up, shoppers, newcomers, console)
    print_json(figures, as_json)


@bench.command("cost")
def bench_cost(
    rate: Annotated[int, typer.Option(min=1, help="Events per second, of the paced load.")] = 1_000,
    seconds: Annotated[int, typer.Option(min=4, help="Of the paced load.")] = 20,
    warm_up: Annotated[int, typer.Option(min=0, help="Seconds at the rate, not counted.")] = 30,
    backlog: Annotated[int, typer.Option(min=4_000, help="Events that are there before.")] = 20_000,
    shoppers: Annotated[int, typer.Option(min=2, help="Who are in the shop at a time.")] = 2_000,
    parallelism: Annotated[int, typer.Option(min=1, help="Of the job `recommend`.")] = 1,
    policy: Annotated[PolicyName, typer.Option(help="By which slates are weighed, as `bench slate` knows it.")] = (
        "four objectives"
    ),
    model: Model = MODEL,
    home: Annotated[Path, typer.Option(help="Of all data; that of the last goes.")] = Path(".local/bench"),
    as_json: AsJson = False,
) -> None:
    """Measure the CPU that an event costs, by process and by step of the job `recommend`: paced, and in a backlog.

    Example: rheostat bench cost --json
    """
    from infra.bench.cost import measure

    console = printer(as_json)
    with at_work(home, "bench", console, model) as claimed:
        figures = measure(
            claimed, model.resolve(), rate, seconds, backlog, warm_up, shoppers, parallelism, policy, console
        )
    print_json(figures, as_json)


@bench.command("peers")
def bench_peers(
    rate: Annotated[int, typer.Option(min=1, help="Events per second.")] = 1_000,
    seconds: Annotated[int, typer.Option(min=2, help="Of each run.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Each peer's turns.")] = 2,
    hold: Annotated[
        int, typer.Option(min=0, help="Seconds that a rate is to be held; 0: the highest is not looked for.")
    ] = 0,
    shoppers: Annotated[int, typer.Option(min=2, help="Who are in the shop at a time.")] = 2_000,
    model: Model = MODEL,
    home: Annotated[Path, typer.Option(help="Of all data; that of the last goes.")] = Path(".local/bench"),
    as_json: AsJson = False,
) -> None:
    """Measure the job beside an echo, a PyFlink job that does nothing, and a loop around the same model.

    Example: rheostat bench peers --hold 60 --json
    """
    from infra.bench.peers.measure import measure

    console = printer(as_json)
    with at_work(home, "bench", console, model) as claimed:
        figures = measure(claimed, model.resolve(), rate, seconds, rounds, hold, shoppers, console)
    print_json(figures, as_json)


@bench.command("catalogue")
def bench_catalogue(
    events: Annotated[int, typer.Option(min=500, help="Answered at each size of bundle.")] = 5_000,
    policy: Annotated[PolicyName, typer.Option(help="By which slates are weighed, as `bench slate` knows it.")] = (
        "four objectives"
    ),
    device: Annotated[str, typer.Option(help="Where the model runs, as `recommend --device` takes it.")] = "cpu",
    model: Model = MODEL,
    as_json: AsJson = False,
) -> None:
    """Measure what an answer costs in a shop of the model's size: model, candidates and all, in one process.

    Example: rheostat bench catalogue --model /models/of-a-million --json
    """
    from infra.bench.catalogue import measure

    print_json(measure(model.resolve(), events, policy, device, printer(as_json)), as_json)


@bench.command("slate")
def bench_slate(
    candidates: Annotated[int, typer.Option(min=20, max=1_000, help="To draw the slate from.")] = 200,
    slates: Annotated[int, typer.Option(min=100, help="Under each policy.")] = 5_000,
    model: Model = MODEL,
    as_json: AsJson = False,
) -> None:
    """Measure the weighing and the draw of a slate on one core, without the model, under plain and rich policies.

    Example: rheostat bench slate --json
    """
    from infra.bench.slate import measure

    figures = measure(model, candidates, slates, printer(as_json))
    print_json(figures, as_json)


@bench.command("control")
def bench_control(
    seeds: Annotated[int, typer.Option(min=1, help="Shops, for each shock.")] = 3,
    plot: Annotated[Path | None, typer.Option(dir_okay=False, help="PNG of the curves.")] = None,
    model: Model = MODEL,
    as_json: AsJson = False,
) -> None:
    """Measure how constraints are held in the simulated shop, before and after a shock, by the code of the jobs.

    Example: rheostat bench control --plot docs/plots/control.png
    """
    from infra.bench.control import measure

    figures = measure(model, seeds, plot, printer(as_json))
    print_json(figures, as_json)


@bench.command("tradeoff")
def bench_tradeoff(
    seeds: Annotated[int, typer.Option(min=1, help="Shops, the same for all ways.")] = 20,
    seconds: Annotated[int, typer.Option(min=60, help="After the change, of the shop's time.")] = 600,
    pages: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the steps after which a page is opened, which asks for a slate."),
    ] = 0.0,
    env: Annotated[
        str | None, typer.Option(help="Of SARDINE, in place of our own shop: SlateTopK-Bored-v0 and others.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="There: one shopper each, with its seed.")] = 60,
    first_seed: Annotated[int, typer.Option(min=0, help="There: of the first episode.")] = 0,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="JData sample, in place of a shop: conversion's weight is turned on it."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(dir_okay=False, help="PNG of the curves and the front.")] = None,
    model: Model = MODEL,
    as_json: AsJson = False,
) -> None:
    """Compare fixed weights, ε-greedy, Thompson sampling and Rheostat in the simulated shop when the fashion changes.

    Example: rheostat bench tradeoff --seeds 20 --plot docs/plots/tradeoff.png
    """
    from infra.bench import front, sardine
    from infra.bench.tradeoff import measure
    from streaming.scoring.model import lasting_model

    if env is not None and data_dir is not None:
        fail("--env and --data-dir are two ways to compare: give one of them")
    console = printer(as_json)
    if env is not None:
        print_json(sardine.measure(env, episodes, console, first_seed), as_json)
        return
    if data_dir is not None:
        print_json(front.measure(lasting_model(model), data_dir, plot, console), as_json)
        return
    figures = measure(model, seeds, seconds, pages, plot, console)
    print_json(figures, as_json)


@bench.command("features")
def bench_features(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the JData sample, measured too.")] = None,
    model: Model = MODEL,
    events: Annotated[int, typer.Option(min=1_000, help="Of the simulated shop.")] = 100_000,
    as_json: AsJson = False,
) -> None:
    """Measure a state update with its feature row on one core, and what the state of a shopper weighs.

    Example: rheostat bench features --json
    """
    from infra.bench.features import measure

    console = printer(as_json)
    figures = measure(model, events, data_dir, console)
    print_json(figures, as_json)


@bench.command("feast")
def bench_feast(
    home: Annotated[Path, typer.Option(help="Of all data; that of the last goes.")] = Path(".local/bench-feast"),
    rows: Annotated[int, typer.Option(min=10, help="Written a round to our stores.")] = 2_000,
    as_json: AsJson = False,
) -> None:
    """Measure writes and reads of both online stores beside Feast's own stores on the same servers.

    Example: rheostat bench feast --json
    """
    from infra.bench.feast import measure

    console = printer(as_json)
    with at_work(home, "bench", console) as claimed:
        figures = measure(claimed, rows, console)
    print_json(figures, as_json)


@bench.command("shop")
def bench_shop(
    interactions: Annotated[int, typer.Option(min=1_000, help="Of a round.")] = 50_000, as_json: AsJson = False
) -> None:
    """Measure how many interactions a second the simulated shop makes on one core.

    Example: rheostat bench shop --json
    """
    from infra.bench.shop import measure

    print_json(measure(interactions, printer(as_json)), as_json)


@bench.command("quality")
def bench_quality(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of a split in SR-GNN's layout.")],
    model: Annotated[str, typer.Option(help="Folder of an artifact, or a model's name, as `make train` knows it.")],
    train: Annotated[bool, typer.Option("--train", help="Train the model where there is no artifact of it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure how well a model, as the job loads it, ranks the next item of every prefix of every test session.

    Example: rheostat bench quality --data splits/diginetica_srgnn --model graph --train --json
    """
    from infra.bench.quality import measure

    figures = measure(model, data.resolve(), train, printer(as_json))
    print_json(figures, as_json)


@bench.command("returning")
def bench_returning(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the JData sample.")],
    as_json: AsJson = False,
) -> None:
    """Measure what a shopper who comes back is shown before the first click, from the profile that Feast has.

    Example: rheostat bench returning --data data/jdata_micro --json
    """
    from infra.bench.returning import measure

    print_json(measure(data.resolve(), printer(as_json)), as_json)


@bench.command("cold-start")
def bench_cold_start(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of the JData sample.")],
    as_json: AsJson = False,
) -> None:
    """Compare ways to rank items that training never saw: the cold-start generator, and simpler ones.

    Trains the teacher where there is none yet, chooses on the last tenth of the training sessions, and measures on the
    test sessions: among all items, among the new ones, and what becomes of the known ones.

    Example: rheostat bench cold-start --data data/jdata_micro --json
    """
    from infra.bench.quality import cold_start

    cold_start(data.resolve(), as_json)
