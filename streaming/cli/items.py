"""`rheostat items`: what the shop sells."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.cli.group import group
from streaming.cli.options import AsJson, OnCluster, errors, print_json, printer, say
from streaming.config import Cluster

if TYPE_CHECKING:
    from rich.console import Console

    from streaming.io.item_file import ItemFile
    from streaming.io.item_load import Load

items = group("What the shop sells.")
PROGRESS_LINES = 1_000  # between two looks at the progress
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="FIELD=COLUMN", help="Where a column is called otherwise; again for each."),
]
ColumnsFile = Annotated[
    Path | None, typer.Option("--columns", exists=True, dir_okay=False, help="YAML file of lines `field: column`.")
]
Delimiter = Annotated[str, typer.Option(help="Of a CSV file, one character.")]


@items.callback()
def _items() -> None:
    pass  # so that `load` is a command of a group


@items.command()
def load(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, JSON lines (.jsonl) or Parquet.")],
    cluster: OnCluster,
    column: Columns = None,
    columns: ColumnsFile = None,
    delimiter: Delimiter = ",",
    replace: Annotated[
        bool, typer.Option("--replace", help="Take off sale what the file does not have, unless it refuses a line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a file's items on sale, or change them: what is there as it is, is not written again.

    Needed of each are item_id, name and category; brand, merchant, price, margin (a share of the price), stock,
    content and updated_time_ms may be. Exit 1 if a line is refused; all others are written.

    Example: rheostat items load products.csv --column item_id=sku --column name=title
    """
    opened = open_file(file, column, columns, delimiter)
    done = load_file(opened, cluster, replace, printer(as_json))
    print_json(asdict(done) | {"refused": done.refused}, as_json)
    raise typer.Exit(1 if done.refused else 0)


def open_file(file: Path, column: Sequence[str] | None, columns: Path | None, delimiter: str) -> "ItemFile":
    """Return the file of items that options name."""
    from streaming.io.item_file import open_items, read_columns

    column_of = {} if columns is None else read_columns(columns)
    for option in column or ():
        field, equals, name = option.partition("=")
        if not equals:
            msg = f"{option!r}: expected FIELD=COLUMN"
            raise typer.BadParameter(msg, param_hint="--column")
        column_of[field] = name
    if len(delimiter) != 1:
        msg = f"{delimiter!r}: expected one character"
        raise typer.BadParameter(msg, param_hint="--delimiter")
    return open_items(file, column_of, delimiter)


def load_file(opened: "ItemFile", cluster: Cluster, replace: bool, console: "Console") -> "Load":
    """Load the file, show how far it is, and say what has become of it."""
    from confluent_kafka import KafkaException

    from features.progress import Bar
    from streaming.io.item_load import load_items

    with errors(KafkaException), Bar(console) as progress:
        task = progress.add_task(opened.path.name, total=opened.line_count())

        def show(load: "Load") -> None:
            if load.lines % PROGRESS_LINES == 0:
                progress.update(task, completed=load.lines)

        done = load_items(opened.items(), cluster, replace, show)
        progress.update(task, completed=done.lines, total=done.lines)
    say(str(done), console)
    if replace and done.refused:
        say("nothing is removed while lines are refused", console)
    return done
