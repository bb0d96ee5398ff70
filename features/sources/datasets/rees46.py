"""REES46 multi-category store: `2019-Oct.csv` and its like, one file a month."""

from pathlib import Path

import polars as pl

from features.sources.datasets.files import csv, find
from features.sources.datasets.log import Log, log

NAME = "rees46"
FILES = "2019-Oct.csv (or another month's file, named itself)"
_KINDS = {"cart": "add_to_cart"}  # remove_from_cart is filtered
_COLUMNS = (
    *("event_time", "event_type", "product_id", "category_id", "category_code"),
    *("brand", "price", "user_id", "user_session"),
)


def open_log(path: Path | None) -> Log:
    """Return the log. A category is its code (`electronics.smartphone`) or, where there is none, its number."""
    file = find(path, NAME, "2019-Oct.csv", "2019-Nov.csv")
    events = csv(file, _COLUMNS)
    time = (
        pl.col("event_time").str.strip_suffix(" UTC").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms", strict=False)
    )
    return log(
        NAME,
        file,
        events.select(
            time.cast(pl.Int64).alias("time_ms"),
            pl.col("user_id").alias("shopper"),
            pl.col("user_session").alias("session"),
            pl.col("product_id").alias("item"),
            pl.col("event_type").replace(_KINDS).alias("kind"),
            pl.coalesce("category_code", "category_id").alias("category"),
            "brand",
            "price",
        ),
    )
