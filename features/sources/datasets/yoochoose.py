"""YooChoose (RecSys Challenge 2015): `yoochoose-clicks.dat` and `yoochoose-buys.dat`, both without a header.

There are sessions and no shoppers: each session is a shopper of its own.
"""

from pathlib import Path

import polars as pl

from features.sources.datasets.files import find, headless_csv, maybe
from features.sources.datasets.log import Log, log

NAME = "yoochoose"
FILES = "yoochoose-clicks.dat (and yoochoose-buys.dat)"
_CLICKS = ("session", "time", "item", "category")
_ZERO_IS_UNKNOWN = ("category", "price", "quantity")
_BUYS = ("session", "time", "item", "price", "quantity")


def open_log(path: Path | None) -> Log:
    """Return the log."""
    file = find(path, NAME, "yoochoose-clicks.dat")
    parts = [headless_csv(file, _CLICKS).with_columns(pl.lit("view").alias("kind"))]
    bought = maybe(file, "yoochoose-buys.dat")
    if bought is not None:
        parts.append(headless_csv(bought, _BUYS).with_columns(pl.lit("purchase").alias("kind")))
    events = pl.concat(parts, how="diagonal")
    there = events.collect_schema().names()
    time = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ms", strict=False)
    return log(
        NAME,
        file,
        events.with_columns(
            time.cast(pl.Int64).alias("time_ms"),
            pl.col("session").alias("shopper"),
            *[pl.col(name).replace("0", None) for name in _ZERO_IS_UNKNOWN if name in there],
        ),
    )
