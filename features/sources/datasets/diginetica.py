"""Diginetica (CIKM Cup 2016), raw: `train-item-views.csv` with what lies beside it, or a sample as `events.parquet`.

The log gives the day of an event and the time since its session's first query. A session is taken to begin at midnight
of its first day: order and distances inside a session are the log's, the hour of the day is not known.
"""

from pathlib import Path

import polars as pl

from features.sources.datasets.files import csv, find, maybe, parquet
from features.sources.datasets.log import Log, log

NAME = "diginetica"
FILES = "train-item-views.csv (and train-purchases.csv, products.csv, product-categories.csv) or events.parquet"
_VIEWS = ("session_id", "user_id", "item_id", "timeframe", "eventdate")
_PURCHASES = ("session_id", "user_id", "timeframe", "eventdate", "item_id")
_SAMPLE = ("session_id", "user_id", "item_id", "timeframe_ms", "eventdate", "event_type", "category_id")
_DAY_MS = 86_400_000


def open_log(path: Path | None) -> Log:
    """Return the log."""
    file = find(path, NAME, "train-item-views.csv", "events.parquet")
    if file.suffix == ".parquet":
        sample = parquet(file, _SAMPLE).rename({"timeframe_ms": "timeframe", "event_type": "kind"})
        return log(NAME, file, _in_form(sample).with_columns(pl.col("category_id").alias("category")))
    parts = [csv(file, _VIEWS, ";").select(*_VIEWS, pl.lit("view").alias("kind"))]
    bought = maybe(file, "train-purchases.csv")
    if bought is not None:
        parts.append(csv(bought, _PURCHASES, ";").select(*_VIEWS, pl.lit("purchase").alias("kind")))
    return log(NAME, file, _in_form(pl.concat(parts)), _items(file))


def _in_form(events: pl.LazyFrame) -> pl.LazyFrame:
    since_start = pl.col("timeframe").cast(pl.Int64, strict=False)
    day = pl.col("eventdate").str.to_datetime("%Y-%m-%d", time_unit="ms", strict=False).cast(pl.Int64)
    first_day = (day - since_start // _DAY_MS * _DAY_MS).min().over("session_id")
    user = pl.col("user_id").cast(pl.String).replace({"NA": None, "": None})
    return events.with_columns(
        (first_day + since_start).alias("time_ms"),
        pl.coalesce(user, pl.concat_str(pl.lit("session-"), "session_id")).alias("shopper"),
        pl.col("session_id").alias("session"),
        pl.col("item_id").alias("item"),
    )


def _items(file: Path) -> pl.LazyFrame | None:
    categories, products = maybe(file, "product-categories.csv"), maybe(file, "products.csv")
    parts = []
    if categories is not None:
        of_category = csv(categories, ("item_id", "category_id"), ";")
        parts.append(of_category.select(pl.col("item_id").alias("item"), pl.col("category_id").alias("category")))
    if products is not None:  # the log has the price's logarithm to base 2, rounded
        prices = 2.0 ** pl.col("pricelog2").cast(pl.Float64, strict=False)
        of_price = csv(products, ("item_id", "pricelog2"), ";")
        parts.append(of_price.select(pl.col("item_id").alias("item"), prices.alias("price")))
    return pl.concat(parts, how="diagonal") if parts else None
