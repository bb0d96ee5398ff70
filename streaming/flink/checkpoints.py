"""Where a job starts: how Flink lays out its checkpoints and savepoints."""

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from features.errors import RestoreError
from streaming.config import NEWEST

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/")
METADATA = "_metadata"  # written when everything else of a checkpoint is there


def location(folder: str) -> str:
    """Return a folder, which may be given by its path or its URI, as a URI."""
    return folder if _SCHEME.match(folder) else Path(folder).resolve().as_uri()


def checkpoint_of(restore: str, checkpoints: str | None) -> str | None:
    """Return the checkpoint or savepoint that a job starts from.

    Args:
        restore: its path or URI, or NEWEST.
        checkpoints: folder or URI of the job's own checkpoints and savepoints, in which the newest one is looked for.

    Returns:
        The URI; None where that is elsewhere, where Flink alone can look (`streaming.flink.file_systems`).

    Raises:
        RestoreError: there is none.
    """
    if restore == NEWEST:
        if checkpoints is None:
            msg = f"--restore {NEWEST} is looked for in --checkpoints, which is not given; name the checkpoint itself"
            raise RestoreError(msg)
        uri = location(checkpoints)
        return newest_checkpoint(_folder(uri)).as_uri() if is_here(uri) else None
    uri = location(restore)
    if not is_here(uri):
        return None
    if not (_folder(uri) / METADATA).is_file():
        msg = f"--restore: {_folder(uri)} is neither a checkpoint nor a savepoint (it has no {METADATA})"
        raise RestoreError(msg)
    return uri


def is_here(uri: str) -> bool:
    """Return whether a URI is of this machine."""
    return uri.startswith("file:")


def _folder(uri: str) -> Path:
    return Path(url2pathname(urlsplit(uri).path))


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
