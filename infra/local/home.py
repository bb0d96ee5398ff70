"""The folder in which servers and jobs of this machine keep their data: nobody else's is ever touched."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from features.errors import HomeError
from infra.local.owner import owner_of

MARKER = ".rheostat-home.json"
NAMED_AT_MOST = 3  # files of a folder that is refused


def remembered(home: Path) -> dict[str, str]:
    """Return what a folder of ours was made with, and is gone on with where nobody says otherwise."""
    try:
        return dict(json.loads((home / MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # which `claim` says
        return {}


def claim(
    home: Path,
    made_by: str,
    fresh: bool,
    changeable: Mapping[str, str] = MappingProxyType({}),
    **made_with: str,
) -> Path:
    """Return the folder, resolved, as one that may be written to; what it holds is gone on with.

    Args:
        home: made if it is not there.
        made_by: whose data it holds; that of another is refused.
        fresh: empty it first. Only a folder with a marker of `made_by` is ever emptied.
        changeable: what is to be remembered, too, and may be another the next time.
        made_with: what it can only be gone on with.

    Raises:
        HomeError: it holds what is not ours, or ours of another kind. Nothing was changed.
    """
    home = home.resolve()
    marker = home / MARKER
    if (at_work := owner_of(home)) is not None:
        msg = f"process {at_work.pid} is at work in {home}: `rheostat down --home {home}` stops it; or choose another"
        raise HomeError(msg)
    if home.exists() and not home.is_dir():
        msg = f"{home} is a file; expected a folder, or a path where one can be made"
        raise HomeError(msg)
    if not marker.is_file():
        names = sorted(path.name for path in home.iterdir()) if home.is_dir() else []
        if names:
            more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
            msg = (
                f"{home} holds {', '.join(names[:NAMED_AT_MOST])}{more} and is no folder of Rheostat's (it has no "
                f"{MARKER}); nothing was touched. Choose an empty folder, or one that is not there"
            )
            raise HomeError(msg)
    else:
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))
        except ValueError as error:
            msg = f"{marker} cannot be read ({error}); nothing was touched. Choose another folder"
            raise HomeError(msg) from error
        _check_kind(home, found, made_by, {} if fresh else made_with)
        if fresh:
            _empty(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps({"made_by": made_by, **made_with, **changeable}), encoding="utf-8")
    except OSError as error:
        msg = f"{home} cannot be written: {error.strerror}; give another folder (--home), or the right to write there"
        raise HomeError(msg) from error
    return home


def _check_kind(home: Path, found: dict[str, str], made_by: str, made_with: dict[str, str]) -> None:
    if found.get("made_by") != made_by:
        msg = f"{home} was made by `rheostat {found.get('made_by')}`; choose another folder for `rheostat {made_by}`"
        raise HomeError(msg)
    for name, value in made_with.items():
        if name in found and found[name] != value:
            msg = f"{home} was made with {name} {found[name]}, not {value}; say the same, or --fresh to begin anew"
            raise HomeError(msg)


def _empty(home: Path) -> None:
    for path in home.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
