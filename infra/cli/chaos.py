"""`rheostat chaos`: whether anything is lost when parts of the system are killed."""

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.at_work import at_work
from streaming.cli.options import MODEL, AsJson, print_json, printer, say
from streaming.jobs.options import Model


def chaos(
    seed: Annotated[int, typer.Option(help="Which faults come, when, and for how long.")] = 1,
    kills: Annotated[int, typer.Option(min=0, help="How many faults.")] = 10,
    rate: Annotated[int, typer.Option(min=1, help="Events per second.")] = 40,
    between_s: Annotated[float, typer.Option(min=1, help="Mean time between two faults.")] = 8.0,
    model: Model = MODEL,
    home: Annotated[Path, typer.Option(help="Of all data; that of the last goes.")] = Path(".local/chaos"),
    as_json: AsJson = False,
) -> None:
    """Kill servers and jobs at random moments under load, and compare with what comes of it where nothing happens.

    On a Kafka broker behind a network that can be cut, a Flink cluster of two TaskManagers, and Cassandra. Exit 1 if a
    slate is lost, or a feature row, a dead letter or an outcome is another. Example: rheostat chaos --seed 7 --kills 20
    """
    from infra.chaos.run import run

    console = printer(as_json)
    with at_work(home, "chaos", console, model) as claimed:
        figures = run(claimed, model.resolve(), seed, kills, rate, between_s, lambda words: say(words, console))
    of_differences = ("_lost", "_too_many", "_different")
    wrong = {name: count for name, count in figures.items() if name.endswith(of_differences) and count}
    say(
        f"{figures['events']} events, {len(figures['kills'])} faults: "
        + (", ".join(f"{name} {count}" for name, count in wrong.items()) or "nothing is lost, nothing is otherwise")
        + f"; {figures['slates_twice']} slates twice, at most {figures['longest_silence_s']} s without one",
        console,
    )
    print_json(figures, as_json)
    raise typer.Exit(1 if wrong else 0)
