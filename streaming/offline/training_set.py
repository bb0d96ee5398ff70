"""Training examples from the landed log: each row as it was scored, and what the shopper did after it.

A label looks at what came strictly after the row's event time, the newest that the row can have seen, and at most a
horizon later; so nothing that a row knows is in its label. A row whose horizon goes beyond the end of the log is left
out, since what it leads to is not known yet. A row that was logged twice, after a recovery, counts once: the first.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from features.errors import TrainingSetError
from features.interaction import Kind
from streaming.offline.tables import FEATURE_LOG

MICRO = 1_000_000  # money is summed in whole millionths, so that a difference of sums is exact
LABELS = ("next_view_item", "next_view_delay_ms", "added_to_cart", "purchased", "revenue")


@dataclass(frozen=True)
class Summary:
    rows: int
    censored: int  # left out: their horizon ends after the log
    repeated: int  # left out: logged again after a recovery
    next_views: int
    carts: int
    purchases: int
    revenue: float


_EVENT = ["shopper_id", "event_id", "kind", "item_id"]  # what tells an interaction from another


def build(log: Path, from_ms: int, to_ms: int, horizon_ms: int, out: Path) -> Summary:
    """Write the examples of rows from `from_ms` to before `to_ms`, event time, to the Parquet file `out`.

    Args:
        log: folder `feature_log` that `rheostat log sink` filled.
        from_ms: of the row's event time; since the epoch.
        to_ms: of the row's event time; since the epoch.
        horizon_ms: for which a label looks ahead.
        out: is replaced.

    Raises:
        TrainingSetError: no row of that time has landed.
    """
    files = sorted(log.glob("date=*/*.parquet"))
    if not files:
        msg = f"{log}: no date=…/*.parquet; land the feature log there first: rheostat log sink --out {log}"
        raise TrainingSetError(msg)
    landed = pl.read_parquet(files, hive_partitioning=False)
    once = landed.sort("created_timestamp", maintain_order=True).unique(
        ["shopper_id", "rec_id"], keep="first", maintain_order=True
    )
    in_range = once.filter(pl.col("event_time_ms").is_between(from_ms, to_ms, closed="left"))
    last_ms = once["interaction_time_ms"].max()
    assert isinstance(last_ms, int), "a log with files has rows"
    rows = in_range.filter(pl.col("event_time_ms") + horizon_ms <= last_ms)
    if rows.is_empty():
        msg = (
            f"{log}: {len(in_range)} of {len(once)} rows lie in the range and none of them {horizon_ms} ms before the "
            "log's end; choose an earlier range or a shorter horizon"
        )
        raise TrainingSetError(msg)
    examples = _labelled(rows, once.unique(_EVENT, keep="first", maintain_order=True), horizon_ms)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".part")
    examples.write_parquet(unfinished, compression="zstd")
    unfinished.replace(out)
    return Summary(
        rows=len(examples),
        censored=len(in_range) - len(rows),
        repeated=len(landed) - len(once),
        next_views=examples["next_view_item"].count(),
        carts=int(examples["added_to_cart"].sum()),
        purchases=int(examples["purchased"].sum()),
        revenue=float(examples["revenue"].sum()),
    )


def _labelled(rows: pl.DataFrame, log: pl.DataFrame, horizon_ms: int) -> pl.DataFrame:
    did = log.select("shopper_id", "item_id", "kind", "value", at="interaction_time_ms").sort("at", maintain_order=True)
    views = did.filter(pl.col("kind") == Kind.VIEW).select("shopper_id", "at", next_view_item="item_id", viewed="at")
    totals = did.select(
        "shopper_id",
        "at",
        carts=(pl.col("kind") == Kind.ADD_TO_CART).cum_sum().over("shopper_id"),
        bought=(pl.col("kind") == Kind.PURCHASE).cum_sum().over("shopper_id"),
        paid=(pl.col("value").fill_null(0.0) * MICRO).round().cast(pl.Int64).cum_sum().over("shopper_id"),
    )
    examples = rows.with_row_index("row").with_columns(now="event_time_ms", ahead=pl.col("event_time_ms") + horizon_ms)
    examples = examples.sort("now").join_asof(
        views,
        left_on="now",
        right_on="at",
        by="shopper_id",
        strategy="forward",
        tolerance=horizon_ms,
        allow_exact_matches=False,
        check_sortedness=False,
        coalesce=True,
    )
    for moment in ("now", "ahead"):  # the sums up to then
        examples = examples.sort(moment).join_asof(
            totals.rename({name: f"{name}_{moment}" for name in ("carts", "bought", "paid")} | {"at": f"at_{moment}"}),
            left_on=moment,
            right_on=f"at_{moment}",
            by="shopper_id",
            check_sortedness=False,
            coalesce=True,
        )

    def during(name: str) -> pl.Expr:
        return pl.col(f"{name}_ahead").fill_null(0) - pl.col(f"{name}_now").fill_null(0)

    return examples.sort("row").select(
        *FEATURE_LOG,
        "next_view_item",
        next_view_delay_ms=pl.col("viewed") - pl.col("event_time_ms"),
        added_to_cart=during("carts") > 0,
        purchased=during("bought") > 0,
        revenue=during("paid") / MICRO,
    )
