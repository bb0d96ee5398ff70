"""`rheostat explain`: why a slate is as it is, in words and bars."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from streaming.cli.options import MODEL, AsJson, OnCluster, errors, print_json, printer, say
from streaming.jobs.options import Model

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BAR = 24  # characters of the longest bar
CLICKS_SHOWN = 5


def explain(
    rec_id: Annotated[str, typer.Argument(help="Of the slate.")],
    cluster: OnCluster,
    place: Annotated[int, typer.Option(min=1, help="Of the item in the slate.")] = 1,
    model: Model = MODEL,
    as_json: AsJson = False,
) -> None:
    """Say why an item stands at its place: the parts of its score, the policy, the clicks that mattered.

    Example: rheostat explain 4f1d... --place 3
    """
    from confluent_kafka import KafkaException

    from streaming.offline.explanation import explanation
    from streaming.scoring.model import SessionModel

    console = printer(as_json)
    with errors(KafkaException), console.status("looking for the slate …"):
        explained = explanation(rec_id, place, cluster, lambda: SessionModel(model))
    _print(explained, console)
    print_json(msgspec.to_builtins(explained), as_json)


def _print(explained: Any, console: "Console") -> None:
    from streaming.offline.explanation import named, percent

    for sentence in explained.says:
        say(sentence, console)
    console.print(_bars("The score", [(name, part, f"{part:+z.4f}") for name, part in explained.parts.items()]))
    clicks = [
        (f"{named(click.item_id, explained.names)}, click {click.place}", -click.change, percent(-click.change))
        for click in explained.clicks[:CLICKS_SHOWN]
    ]
    if clicks:
        console.print(_bars("By how much P(clicked) changes without a click", clicks))


def _bars(title: str, rows: list[tuple[str, float, str]]) -> "Table":
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    longest = max([abs(value) for _, value, _ in rows] or [1.0]) or 1.0
    for name, value, words in rows:
        table.add_row(name, words, ("█" if value >= 0 else "▒") * round(BAR * abs(value) / longest))
    return table
