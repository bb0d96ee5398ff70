"""Finding and opening the files of a public log, with one clear word where they are not what they should be.

Everything in a CSV is read as text and turned into numbers later, leniently: a cell that is no number makes its row one
that is counted and left out, not an error half-way through a file of gigabytes.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from features.errors import DatasetError


def find(path: Path | None, dataset: str, *names: str) -> Path:
    """Return the first of the files `names` in the folder `path`, or `path` itself where it is a file.

    Raises:
        DatasetError: there is none.
    """
    if path is not None and path.is_file():
        return path
    file = maybe(path, *names)
    if file is None:
        where = "no folder is named" if path is None else f"{path}: {_content(path)}"
        msg = f"{where}; expected {' or '.join(names)} of the log `{dataset}`: name the folder that holds it"
        raise DatasetError(msg)
    return file


def maybe(path: Path | None, *names: str) -> Path | None:
    """Return the first of the files `names` in the folder of `path`, None if there is none."""
    if path is None:
        return None
    folder = path.parent if path.is_file() else path
    return next((folder / name for name in names if (folder / name).is_file()), None)


def parquet(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    """Return the file's `columns`; raises DatasetError where it has not all of them."""
    try:
        frame = pl.scan_parquet(path)
        names = frame.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} is not a Parquet file: {error}; download it anew"
        raise DatasetError(msg) from error
    _check(names, columns, path)
    return frame


def csv(path: Path, columns: Sequence[str], separator: str = ",") -> pl.LazyFrame:
    """Return the `columns` of a CSV with a header, as text; userId and user_id are one name."""
    names = [_snake(name.strip().strip('"')) for name in _first_line(path).split(separator)]
    _check(names, columns, path)
    return pl.scan_csv(path, separator=separator, infer_schema=False, with_column_names=lambda _: names)


def headless_csv(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    """Return a CSV without a header whose rows are `columns`, as text."""
    cells = _first_line(path).split(",")
    if len(cells) != len(columns):
        msg = (
            f"{path}: its first row has {len(cells)} columns ({', '.join(cells)[:200]}), expected {len(columns)} "
            f"without a header: {', '.join(columns)}"
        )
        raise DatasetError(msg)
    return pl.scan_csv(path, has_header=False, infer_schema=False, new_columns=list(columns))


def json_lines(path: Path, schema: dict[str, pl.DataType]) -> pl.LazyFrame:
    """Return a file of one JSON object a line; raises DatasetError where the first has not all fields of `schema`."""
    try:
        names = pl.read_ndjson(_first_line(path).encode()).columns
    except pl.exceptions.PolarsError as error:
        msg = f"{path}: its first line is not a JSON object ({error}); expected the fields {', '.join(schema)}"
        raise DatasetError(msg) from error
    _check(names, schema, path)
    return pl.scan_ndjson(path, schema=schema)


def collect(frame: pl.LazyFrame, file: Path) -> pl.DataFrame:
    """Return the frame; raises DatasetError where `file` breaks off or is not what its beginning promised."""
    try:
        return frame.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{file}, or a file of its log beside it, cannot be read to its end: {error}; download it anew"
        raise DatasetError(msg) from error


def _check(names: Sequence[str], columns: Iterable[str], path: Path) -> None:
    expected = list(columns)
    missing = [name for name in expected if name not in names]
    if missing:
        msg = (
            f"{path}: the columns are {', '.join(names)}; expected {', '.join(expected)} "
            f"(missing: {', '.join(missing)})"
        )
        raise DatasetError(msg)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            line = lines.readline().rstrip("\r\n")
    except UnicodeDecodeError as error:
        msg = f"{path} is not text ({error}); unpack it first if it is an archive"
        raise DatasetError(msg) from error
    if not line:
        msg = f"{path} is empty; download it anew"
        raise DatasetError(msg)
    return line


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _content(path: Path) -> str:
    if not path.is_dir():
        return "there is no such file or folder"
    names = sorted(file.name for file in path.iterdir())
    return f"it holds {', '.join(names[:8])}{' …' if len(names) > 8 else ''}" if names else "it is empty"
