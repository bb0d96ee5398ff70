"""Files and folders on this machine or, by their URI, in object storage or HDFS: what is read and written is the same.

Only here is a difference: a file of this machine is complete when it takes its name, one elsewhere when it is written.
"""

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from features.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs"}
PART = ".part"
AnyPath = Any  # as options are annotated that `path_of` parses: of a Path, typer makes one of this machine


def path_of(text: str | Path) -> Path:
    """Return a path, or what a URI names as something that does what a path does (fsspec, by universal-pathlib).

    Credentials and endpoints are those of the environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …

    Raises:
        StorageError: the URI's storage cannot be reached, or what speaks to it is not installed.
    """
    text = str(text)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Path(text)
    if scheme[1] == "file":
        return Path(text.removeprefix("file://"))
    options: dict[str, Any] = {}
    if scheme[1] in _EXTRAS:
        options["use_listings_cache"] = False  # others write there, too
    try:
        from upath import UPath

        path = UPath(text, **options)
        path.exists()
    except (ImportError, ValueError) as error:
        extra = f"; pip install 'rheostat[{_EXTRAS[scheme[1]]}]'" if scheme[1] in _EXTRAS else ""
        msg = f"{text} cannot be read or written: {error}{extra}"
        raise StorageError(msg) from error
    except Exception as error:  # each storage has errors of its own
        msg = f"{text} cannot be reached: {type(error).__name__}: {error}"
        raise StorageError(msg) from error
    return cast("Path", path)  # of its methods, those that are used here


def is_here(path: Path) -> bool:
    """Return whether it is a path of this machine."""
    return isinstance(path, Path)


def make_folder(path: Path) -> None:
    """Make a folder where there is none; elsewhere than here the first file does."""
    if is_here(path):
        path.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that nobody sees before it is complete."""
    if not is_here(path):
        path.write_bytes(content)
        return
    unfinished = path.with_suffix(f"{path.suffix}{PART}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def write_parquet(path: Path, frame: "pl.DataFrame") -> None:
    """Write a table that nobody sees before it is complete."""
    content = BytesIO()
    frame.write_parquet(content, compression="zstd")
    write_whole(path, content.getvalue())


def read_parquet(paths: "Sequence[Path]") -> "pl.DataFrame":
    """Return the tables of files one after the other; what folders are called is no column."""
    import polars as pl

    sources: Any = [path if is_here(path) else path.read_bytes() for path in paths]
    return pl.read_parquet(sources, hive_partitioning=False)
