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
from features.spec import INACTIVITY_GAP_MS

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
    kept = all_events.filter(pl.col("why_not").is_null()).drop("why_not").sort("time_ms", maintain_order=True)
    kept = kept.with_columns(pl.coalesce("session", _by_inactivity()))
    known = collect(_in_form(items), file) if items is not None else kept.select("item", *_OF_ITEM)
    known = known.filter(pl.col("item").is_not_null())
    newest = [pl.col(name).drop_nulls().last() for name in known.columns if name != "item"]
    known = known.group_by("item", maintain_order=True).agg(newest)
    return Log(name, len(all_events), dict(counted.iter_rows()), kept, known)


def _in_form(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Cast what is there, add what is missing; what cannot be cast is null. Other columns than `name` are dropped."""
    there = frame.collect_schema().names()
    columns = [
        (pl.col(name).cast(kind, strict=False) if name in there else pl.lit(None, dtype=kind)).alias(name)
        for name, kind in FORM.items()
    ]
    return frame.select(*columns, *[pl.col(name) for name in there if name == "name"])


def _why_not() -> pl.Expr:
    """Say why a row is no interaction; null where it is one."""
    kind, known = pl.col("kind"), [kind.value for kind in KINDS]
    reasons = {
        "without an item": pl.col("item").is_null(),
        "without a shopper": pl.col("shopper").is_null(),
        "without a readable time": pl.col("time_ms").is_null(),
        "without a kind": kind.is_null(),
        "time before 1970": pl.col("time_ms") < 1,
        "quantity below 1": pl.col("quantity") < 1,
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
