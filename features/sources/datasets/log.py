"""A public log as a stream: every adapter brings its rows into one form, from which interactions and items are made.

The form, columns of a row (those that a log has not are left out by its adapter): `time_ms`, `shopper`, `session`
(null: cut by inactivity), `item`, `kind` (one of `features.interaction.KINDS`, or what the log calls it), `category`,
`brand`, `merchant`, `price` (of one piece), `quantity`. A log is sorted in memory: docs/adr/0015.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from features.interaction import KINDS, Interaction, Kind, ShopItem
from features.sources.datasets.content import hashed_content
from features.sources.datasets.files import collect
from features.spec import INACTIVITY_GAP_MS, LATEST_MS, OLDEST_MS

FORM = {
    "time_ms": pl.Int64,
    "shopper": pl.String,
    "session": pl.String,
    "item": pl.String,
    "kind": pl.String,
    "category": pl.String,
    "brand": pl.String,
    "merchant": pl.String,
    "price": pl.Float64,
    "quantity": pl.Int64,
}
_NUMBERS = ("price", "quantity")
_CURRENCY = r"[\s$€£¥₹₽₩]|(?i)\b(usd|eur|gbp|jpy|cny|inr|chf|brl)\b|(?i)^(usd|eur|gbp|jpy|cny|inr|chf|brl)"
ID_AT_MOST = 200  # characters; the log's name comes before it in a message
_OF_ITEM = ("category", "brand", "merchant", "price")
NAME_LENGTH = 256  # of an item, at most: what a message may hold
_SLICE = 20_000  # rows that become Python objects together


@dataclass(frozen=True)
class Log:
    """One log, sorted by event time; equal times keep the order of the file.

    Every row of the files is either an interaction or counted in `filtered`, by why it is none.
    """

    name: str
    rows: int
    filtered: dict[str, int]
    _events: pl.DataFrame
    _items: pl.DataFrame

    def __len__(self) -> int:
        return len(self._events)

    @property
    def span_ms(self) -> tuple[int, int]:
        """Event time of the first and of the last interaction; (0, 0) without any."""
        times = self._events["time_ms"]
        return (times[0], times[-1]) if len(times) else (0, 0)

    def first(self, count: int) -> "Log":
        """Return the log with at most `count` interactions; all its items stay."""
        return replace(self, _events=self._events.head(count))

    def items(self) -> list[ShopItem]:
        """Return the items that the log knows, or those that it is about where it says nothing of them."""
        return [_item(row) for row in self._items.iter_rows(named=True)]

    def interactions(self) -> Iterator[Interaction]:
        """Yield all interactions in event-time order; the n-th row of the files is event `<name>-<n>`.

        A shopper is `<name>-<id>`: two logs number their shoppers alike. Items keep the ids of their log.
        """
        for piece in self._events.iter_slices(_SLICE):
            for row in piece.iter_rows(named=True):
                kind = Kind(row["kind"])
                yield Interaction(
                    event_id=f"{self.name}-{row['n']}",
                    shopper_id=f"{self.name}-{row['shopper']}",
                    session_id=row["session"],
                    item_id=row["item"],
                    kind=kind,
                    event_time_ms=row["time_ms"],
                    category=row["category"] or "",
                    price=row["price"] if kind is Kind.PURCHASE else None,
                    quantity=row["quantity"] if kind is Kind.PURCHASE and row["quantity"] is not None else 1,
                    brand=row["brand"] or "",
                    merchant=row["merchant"] or "",
                )


def log(name: str, file: Path, events: pl.LazyFrame, items: pl.LazyFrame | None = None) -> Log:
    """Return the log of `events`, and of `items` (item, category, brand, merchant, price, name) where it has a list.

    Raises:
        DatasetError: `file`, which holds the events, or one beside it breaks off.
    """
    all_events = collect(_in_form(events).with_row_index("n").with_columns(_why_not().alias("why_not")), file)
    counted = all_events["why_not"].drop_nulls().value_counts(sort=True)
    unread = [f"{name}_unread" for name in _NUMBERS]
    kept = all_events.filter(pl.col("why_not").is_null()).drop("why_not", *unread).sort("time_ms", maintain_order=True)
    kept = kept.with_columns(pl.coalesce("session", _by_inactivity()))
    known = collect(_in_form(items).drop(unread), file) if items is not None else kept.select("item", *_OF_ITEM)
    known = known.filter(pl.col("item").is_not_null())
    newest = [pl.col(name).drop_nulls().last() for name in known.columns if name != "item"]
    known = known.group_by("item", maintain_order=True).agg(newest)
    return Log(name, len(all_events), dict(counted.iter_rows()), kept, known)


def _in_form(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Cast what is there, add what is missing. Other columns than `name` are dropped.

    What cannot be cast is null; of numbers, `<name>_unread` says whether that is so.
    """
    there = frame.collect_schema()
    columns = list[pl.Expr]()
    for name, kind in FORM.items():
        if name not in there:
            columns.append(pl.lit(None, dtype=kind).alias(name))
        elif name in _NUMBERS:
            number = _number(pl.col(name), there[name])
            columns += [number.cast(kind, strict=False).alias(name), _unread(name, number, there[name])]
        elif name in _OF_ITEM:
            columns.append(pl.col(name).cast(kind, strict=False).str.slice(0, NAME_LENGTH).alias(name))
        else:
            columns.append(pl.col(name).cast(kind, strict=False).alias(name))
    columns += [pl.lit(False).alias(f"{name}_unread") for name in _NUMBERS if name not in there]
    return frame.select(*columns, *[pl.col(name) for name in there.names() if name == "name"])


def _number(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Return numbers as such; of text also `12,50`, `1.234,50`, `1,234.50` and what has a currency's sign or code.

    `1,234` may be either, and is not read.
    """
    if kind != pl.String:
        return column.cast(pl.Float64, strict=False)
    plain = column.str.replace_all(_CURRENCY, "")
    return (
        pl.when(plain.str.contains(r"^-?\d{1,3}(\.\d{3})*,\d{1,2}$|^-?\d+,\d{1,2}$"))
        .then(plain.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True))
        .when(plain.str.contains(r"^-?\d{1,3}(,\d{3})+\.\d+$"))
        .then(plain.str.replace_all(",", "", literal=True))
        .otherwise(plain)
        .cast(pl.Float64, strict=False)
    )


def _unread(name: str, number: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Say whether something is there that is no number, or no whole one where pieces are counted."""
    is_there = pl.col(name).is_not_null()
    if kind == pl.String:
        is_there &= pl.col(name).str.strip_chars() != ""
    unread = number.is_null() | ~number.is_finite()
    if name == "quantity":
        unread |= number != number.round()
    return (is_there & unread.fill_null(value=True)).alias(f"{name}_unread")


def _why_not() -> pl.Expr:
    """Say why a row is no interaction; null where it is one."""
    kind, known = pl.col("kind"), [kind.value for kind in KINDS]
    reasons = {
        "without an item": pl.col("item").is_null(),
        "without a shopper": pl.col("shopper").is_null(),
        "without a readable time": pl.col("time_ms").is_null(),
        "without a kind": kind.is_null(),
        "time before 2000 or after 2100": ~pl.col("time_ms").is_between(OLDEST_MS, LATEST_MS),
        "id longer than 200 characters": pl.max_horizontal(
            pl.col("item", "shopper", "session").str.len_chars().fill_null(0)
        )
        > ID_AT_MOST,
        "quantity that is no whole number": pl.col("quantity_unread"),
        "quantity below 1": pl.col("quantity") < 1,
        "quantity above 1,000,000": pl.col("quantity") > 1_000_000,
        "price that is no number": pl.col("price_unread"),
        "price above 10^12": pl.col("price") > 1e12,
        "price below 0": (kind == Kind.PURCHASE.value) & (pl.col("price") < 0),
    }
    of_kind = pl.when(~kind.is_in(known)).then(pl.concat_str(pl.lit("kind "), "kind"))
    return pl.coalesce(*[pl.when(is_so).then(pl.lit(why)) for why, is_so in reasons.items()], of_kind)


def _by_inactivity() -> pl.Expr:
    gap = pl.col("time_ms").diff().over("shopper") > INACTIVITY_GAP_MS
    return pl.concat_str("shopper", pl.lit("-"), gap.fill_null(value=False).cum_sum().over("shopper"))


def _named(item: object, words: list[str]) -> str:
    return f"item {item}" + (f" ({', '.join(words[:2])})" if words else "")


def _item(row: dict[str, object]) -> ShopItem:
    item, category, brand, merchant = (row[name] for name in ("item", "category", "brand", "merchant"))
    known = {"category": category, "brand": brand, "merchant": merchant}
    words = [f"{name} {value}" for name, value in known.items() if value]
    price, name = row["price"], row.get("name")
    return ShopItem(
        item_id=str(item),
        name=(str(name) if name else _named(item, words))[:NAME_LENGTH],
        category=str(category) if category else "unknown",
        brand=str(brand) if brand else None,
        merchant=str(merchant) if merchant else None,
        price=price if isinstance(price, float) and price > 0 else None,
        content=hashed_content(words),
    )
