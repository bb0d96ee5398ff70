"""OTTO (Kaggle 2022): JSON lines, one user's events a line, `{"session", "events": [{"aid", "ts", "type"}]}`.

What the log calls a session is all that one user did in weeks; it is a shopper here, and sessions end by inactivity.
"""

from pathlib import Path

import polars as pl

from features.sources.datasets.files import find, json_lines
from features.sources.datasets.log import Log, log

NAME = "otto"
FILES = "otto-recsys-train.jsonl or otto-recsys-test.jsonl (or another file of that form, named itself)"
_KINDS = {"clicks": "view", "carts": "add_to_cart", "orders": "purchase"}
_EVENT = pl.Struct({"aid": pl.Int64, "ts": pl.Int64, "type": pl.String})


def open_log(path: Path | None) -> Log:
    """Return the log."""
    names = ("otto-recsys-train.jsonl", "train.jsonl", "otto-recsys-test.jsonl", "test.jsonl")
    file = find(path, NAME, *names)
    users = json_lines(file, {"session": pl.Int64(), "events": pl.List(_EVENT)})
    return log(
        NAME,
        file,
        users.explode("events")
        .unnest("events")
        .select(
            pl.col("ts").alias("time_ms"),
            pl.col("session").alias("shopper"),
            pl.col("aid").alias("item"),
            pl.col("type").replace(_KINDS).alias("kind"),
        ),
    )
