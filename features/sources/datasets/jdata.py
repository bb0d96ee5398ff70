"""JD.com JData sample (`events.parquet`, `items.parquet`): views, orders and follows. No prices, no names."""

from pathlib import Path

import polars as pl

from features.sources.datasets.files import find, parquet
from features.sources.datasets.log import Log, log

NAME = "jdata"
FILES = "events.parquet, items.parquet"
_KINDS = {"view": "view", "order": "purchase", "follow": "favourite"}  # comments are filtered
_EVENTS = ("ts_s", "session_id", "user_id", "item_id", "event_type", "category_id", "brand_id", "shop_id", "split")
_OF_ITEM = {"item_id": "item", "category_id": "category", "brand_id": "brand", "shop_id": "merchant"}


def open_log(path: Path | None, split: str | None = None) -> Log:
    """Return the log, or its part `train` or `test`."""
    file = find(path, NAME, "events.parquet")
    events = parquet(file, _EVENTS)
    if split is not None:
        events = events.filter(pl.col("split") == split)
    items = parquet(find(path, NAME, "items.parquet"), list(_OF_ITEM))
    return log(
        NAME,
        file,
        events.select(
            (pl.col("ts_s") * 1000).alias("time_ms"),
            pl.col("user_id").alias("shopper"),
            pl.col("session_id").alias("session"),
            pl.col("event_type").replace(_KINDS).alias("kind"),
            *[pl.col(column).alias(name) for column, name in _OF_ITEM.items()],
        ),
        items.select(*[pl.col(column).alias(name) for column, name in _OF_ITEM.items()]),
    )
