"""Where a job starts: how Flink lays out its checkpoints and savepoints."""

import os
from contextlib import suppress
from pathlib import Path

from features.errors import RestoreError
from streaming.config import NEWEST

METADATA = "_metadata"  # written when everything else of a checkpoint is there


def checkpoint_of(restore: str, folder: Path) -> Path:
    """Return the checkpoint or savepoint that a job starts from.

    Args:
        restore: its path, or NEWEST.
        folder: of the job's own checkpoints and savepoints, in which the newest one is looked for.

    Raises:
        RestoreError: there is none.
    """
    if restore == NEWEST:
        return newest_checkpoint(folder)
    path = Path(restore).resolve()
    if not (path / METADATA).is_file():
        msg = f"--restore: {path} is neither a checkpoint nor a savepoint (it has no {METADATA})"
        raise RestoreError(msg)
    return path


def has_checkpoint(folder: Path) -> bool:
    """Return whether a checkpoint or savepoint below `folder` is complete."""
    return bool(complete_checkpoints(folder))


def complete_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints and savepoints below `folder`, oldest first.

    A running job deletes its older ones meanwhile: what is gone when it is looked at is not among them.
    """
    completed_ns: dict[Path, int] = {}
    for below, _, names in os.walk(folder):  # unlike rglob, it goes on where a folder has gone
        if METADATA in names:
            with suppress(FileNotFoundError):
                completed_ns[Path(below)] = (Path(below) / METADATA).stat().st_mtime_ns
    return sorted(completed_ns, key=lambda path: completed_ns[path])


def newest_checkpoint(folder: Path) -> Path:
    """Return the checkpoint or savepoint below `folder` that was completed last.

    Raises:
        RestoreError: there is none.
    """
    complete = complete_checkpoints(folder)
    if not complete:
        msg = f"--restore {NEWEST}: no complete checkpoint below {folder}; leave --restore out to begin anew"
        raise RestoreError(msg)
    return complete[-1]
