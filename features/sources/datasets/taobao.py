"""Taobao UserBehavior: `UserBehavior.csv` without a header, or a slice of it as `events.parquet`.

Source: Zhu et al. 2018, "Learning tree-based deep model for recommender systems"; Tianchi data set 649.
"""

from pathlib import Path

import polars as pl

from features.sources.datasets.files import find, headless_csv, parquet
from features.sources.datasets.log import Log, log

NAME = "taobao"
FILES = "UserBehavior.csv or events.parquet"
_KINDS = {"pv": "view", "cart": "add_to_cart", "fav": "favourite", "buy": "purchase"}
_CSV = ("user_id", "item_id", "category_id", "event_type", "ts_s")


def open_log(path: Path | None) -> Log:
    """Return the log."""
    file = find(path, NAME, "UserBehavior.csv", "events.parquet")
    events = parquet(file, _CSV) if file.suffix == ".parquet" else headless_csv(file, _CSV)
    return log(
        NAME,
        file,
        events.select(
            (pl.col("ts_s").cast(pl.Int64, strict=False) * 1000).alias("time_ms"),
            pl.col("user_id").alias("shopper"),
            pl.col("item_id").alias("item"),
            pl.col("event_type").replace(_KINDS).alias("kind"),
            pl.col("category_id").alias("category"),
        ),
    )
