"""What commands have in common that start servers here and end with them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from features.errors import StartError
from infra.local.home import claim
from infra.local.owner import owning
from streaming.cli.options import say

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def at_work(home: Path, made_by: str, console: "Console", model: Path | None = None) -> Iterator[Path]:
    """Yield `home`, emptied; end with exit code 130 where a signal comes, and leave nothing running that was started.

    Raises:
        StartError, ArtifactError, HomeError: the machine lacks something, `model` is none, or `home` is not ours or
            somebody is at work in it. Nothing was changed.
    """
    check_machine()
    if model is not None:
        check_model(model)
    claimed = claim(home, made_by, fresh=True)
    try:
        with owning(claimed):
            yield claimed
    except KeyboardInterrupt:
        say("interrupted; everything that was started is stopped", console)
        raise typer.Exit(130) from None


def check_machine(has_cassandra: bool = False) -> None:
    """Raise StartError, naming all that the servers and jobs need and this machine has not."""
    from infra.local.doctor import CASSANDRA, examine_machine

    missing = [
        f"{finding.what}: {finding.found}; {finding.remedy}"
        for finding in examine_machine()
        if not finding.is_fine and (finding.is_needed or (has_cassandra and finding.what == CASSANDRA))
    ]
    if missing:
        msg = f"this machine lacks {'. '.join(missing)}"
        raise StartError(msg)


def check_model(folder: Path) -> None:
    """Raise ArtifactError where `folder` has no model, before anything is started for it."""
    from onnx_models.artifact import read_items, read_manifest

    read_items(folder, read_manifest(folder))
