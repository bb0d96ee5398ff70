"""RetailRocket: `events.csv`, with categories from `item_properties_part1.csv` and `…part2.csv` beside it."""

from pathlib import Path

import polars as pl

from features.sources.datasets.files import csv, find, maybe
from features.sources.datasets.log import Log, log

NAME = "retailrocket"
FILES = "events.csv (and item_properties_part1.csv, item_properties_part2.csv)"
_KINDS = {"addtocart": "add_to_cart", "transaction": "purchase"}
_PROPERTIES = ("timestamp", "itemid", "property", "value")


def open_log(path: Path | None) -> Log:
    """Return the log."""
    file = find(path, NAME, "events.csv")
    events = csv(file, ("timestamp", "visitorid", "event", "itemid"))
    parts = [maybe(file, f"item_properties_part{n}.csv") for n in (1, 2)]
    properties = [csv(part, _PROPERTIES) for part in parts if part is not None]
    return log(
        NAME,
        file,
        events.select(
            pl.col("timestamp").alias("time_ms"),
            pl.col("visitorid").alias("shopper"),
            pl.col("itemid").alias("item"),
            pl.col("event").replace(_KINDS).alias("kind"),
        ),
        _items(properties, events) if properties else None,
    )


def _items(properties: list[pl.LazyFrame], events: pl.LazyFrame) -> pl.LazyFrame:
    """Return the items of the events with the newest category of each; all other properties are hashed."""
    newest = (
        pl.concat(properties)
        .filter(pl.col("property") == "categoryid")
        .sort(pl.col("timestamp").cast(pl.Int64, strict=False), maintain_order=True)
        .group_by("itemid")
        .agg(pl.col("value").last().alias("category"))
    )
    seen = events.select("itemid").unique(maintain_order=True)
    return seen.join(newest, on="itemid", how="left", maintain_order="left").rename({"itemid": "item"})
