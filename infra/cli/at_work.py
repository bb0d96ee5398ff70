"""What commands have in common that start servers here and end with them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console

from infra.local.home import claim
from infra.local.owner import owning
from streaming.cli.options import say


@contextlib.contextmanager
def at_work(home: Path, made_by: str, console: Console) -> Iterator[Path]:
    """Yield `home`, emptied; end with exit code 130 where a signal comes, and leave nothing running that was started.

    Raises:
        HomeError: it is not ours, or somebody is at work in it.
    """
    claimed = claim(home, made_by, fresh=True)
    try:
        with owning(claimed):
            yield claimed
    except KeyboardInterrupt:
        say("interrupted; everything that was started is stopped", console)
        raise typer.Exit(130) from None
