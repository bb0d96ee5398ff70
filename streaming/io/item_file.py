"""A shop's catalogue in a file: CSV, JSON lines or Parquet, read line by line."""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl
import yaml

from features.errors import ItemFileError
from streaming.schemas import Item

FIELDS = tuple([field for field in Item.__struct_fields__ if field != "schema_version"])
_REQUIRED = tuple([field.name for field in msgspec.structs.fields(Item) if field.required])
_TEXTS = frozenset(["item_id", "name", "category", "brand", "merchant"])
_ROWS_AT_ONCE = 10_000  # of a Parquet file
_LINES_AT_FIRST = 100  # of a file of JSON lines, that say which fields there are
Row = Mapping[str, Any]  # by column


class ItemFile(NamedTuple):
    """A file of items, and which of its columns has which field of an item."""

    path: Path
    column_of: Mapping[str, str]  # by field
    delimiter: str  # of a CSV file

    def line_count(self) -> int:
        """Return how many lines it has, or one more."""
        if self.path.suffix == ".parquet":
            return int(pl.scan_parquet(self.path).select(pl.len()).collect().item())
        with self.path.open("rb") as lines:
            return sum(1 for _ in lines)

    def items(self) -> Iterator[Item | str]:
        """Yield the item of every line, or why there is none."""
        for row in _rows(self.path, self.delimiter):
            yield row if isinstance(row, str) else self._item(row)

    def _item(self, row: Row) -> Item | str:
        fields = {field: row.get(column) for field, column in self.column_of.items()}
        try:
            there = {field: _value(field, value) for field, value in fields.items() if not _is_missing(value)}
            item = msgspec.convert(there, Item, strict=False)
            msgspec.json.encode(item)
        except UnicodeEncodeError:
            return "it is not UTF-8"
        except (msgspec.ValidationError, ValueError) as error:
            return str(error)
        return item


def open_items(path: Path, columns: Mapping[str, str], delimiter: str = ",") -> ItemFile:
    """Return the file. A field that has no column of its own comes of the column that is called as it is.

    Args:
        path: of the file; its ending says what it is.
        columns: by field of an item, where the column is called otherwise.
        delimiter: of a CSV file.

    Raises:
        ItemFileError: it cannot be read, or has no column for a field that every item needs.
    """
    if unknown := sorted(columns.keys() - set(FIELDS)):
        msg = f"an item has no field {', '.join(unknown)}; it has {', '.join(FIELDS)}"
        raise ItemFileError(msg)
    there = _columns(path, delimiter)
    column_of = {field: columns.get(field, field) for field in FIELDS}
    if missing := sorted(set(columns.values()) - there):
        msg = f"{path} has no column {', '.join(missing)}; it has {', '.join(sorted(there))}"
        raise ItemFileError(msg)
    if missing := [field for field in _REQUIRED if column_of[field] not in there]:
        options = " ".join(f"--column {field}=COLUMN" for field in missing)
        or_delimiter = ", or --delimiter" if path.suffix == ".csv" and len(there) == 1 else ""
        msg = (
            f"{path} has no column {', '.join(missing)}; it has {', '.join(sorted(there))}. Say {options}{or_delimiter}"
        )
        raise ItemFileError(msg)
    return ItemFile(path, column_of, delimiter)


def read_columns(path: Path) -> dict[str, str]:
    """Return the columns by field, from a YAML file that maps the one to the other.

    Raises:
        ItemFileError: it is none.
    """
    try:
        columns = yaml.safe_load(path.read_text(encoding="utf-8"))
        return msgspec.convert(columns, dict[str, str])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        msg = f"{path}: {error}; expected lines `field: column`"
        raise ItemFileError(msg) from error


def _columns(path: Path, delimiter: str) -> set[str]:
    try:
        match path.suffix:
            case ".csv":
                with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
                    return set(next(csv.reader(lines, delimiter=delimiter), []))
            case ".jsonl":
                first = islice(_json_rows(path), _LINES_AT_FIRST)
                return {name for row in first if not isinstance(row, str) for name in row}
            case ".parquet":
                return set(pl.scan_parquet(path).collect_schema().names())
    except (OSError, csv.Error, pl.exceptions.PolarsError) as error:
        msg = f"{path} cannot be read: {error}"
        raise ItemFileError(msg) from error
    msg = f"{path}: expected .csv, .jsonl or .parquet"
    raise ItemFileError(msg)


def _rows(path: Path, delimiter: str) -> Iterator[Row | str]:
    match path.suffix:
        case ".csv":
            return _csv_rows(path, delimiter)
        case ".jsonl":
            return _json_rows(path)
    return _parquet_rows(path)


def _csv_rows(path: Path, delimiter: str) -> Iterator[Row | str]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter)
        names = next(reader)
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"it is no CSV: {error}"
                continue
            if len(values) == len(names):
                yield dict(zip(names, values, strict=True))
            elif values:
                yield f"it has {len(values)} fields, the first line {len(names)}"


def _json_rows(path: Path) -> Iterator[Row | str]:
    with path.open("rb") as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                yield "it is no JSON object"


def _parquet_rows(path: Path) -> Iterator[Row]:
    frame, first = pl.scan_parquet(path), 0
    try:
        while len(rows := frame.slice(first, _ROWS_AT_ONCE).collect()):
            yield from rows.iter_rows(named=True)
            first += len(rows)
    except pl.exceptions.PolarsError as error:
        msg = f"{path} cannot be read from its line {first + 1} on: {error}"
        raise ItemFileError(msg) from error


def _is_missing(value: Any) -> bool:
    """Return whether a cell says nothing: tables without null have NaN or an empty text for it."""
    return value is None or value == "" or value != value


def _value(field: str, value: Any) -> Any:
    """Return a cell as the field has it: numbers are texts where ids are, and a text has a list as JSON."""
    if field in _TEXTS and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if field == "content" and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            msg = "`content` is no JSON list"
            raise ValueError(msg) from None
    if isinstance(value, date):
        at = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
        return round(1000 * (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    return value
