"""Training examples from the landed log: each row as it was scored, and what the shopper did after it.

A label looks at what came strictly after the row's event time, the newest that the row can have seen, and at most a
horizon later; so nothing that a row knows is in its label. A row whose horizon goes beyond the end of the log is left
out, since what it leads to is not known yet. A row that was logged twice, after a recovery, counts once: the first.
What has come back by the log's end was not sold: a return takes back the shopper's last purchase of the item before it.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from features.errors import TrainingSetError
from features.interaction import Kind
from streaming.offline.tables import FEATURE_LOG, RETURN_LOG
from streaming.storage import make_folder, read_parquet, write_parquet

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
    returned: int  # purchases of which something came back


_EVENT = ["shopper_id", "event_id", "kind", "item_id"]  # what tells an interaction from another


def build(log: Path, from_ms: int, to_ms: int, horizon_ms: int, out: Path) -> Summary:
    """Write the examples of rows from `from_ms` to before `to_ms`, event time, to the Parquet file `out`.

    Args:
        log: folder `feature_log` that `rheostat log sink` filled, with `return_log` beside it.
        from_ms: of the row's event time; since the epoch.
        to_ms: of the row's event time; since the epoch.
        horizon_ms: for which a label looks ahead.
        out: is replaced.

    Raises:
        TrainingSetError: no row of that time has landed.
    """
    files = sorted(log.glob("date=*/*.parquet"), key=str)
    if not files:
        msg = f"{log}: no date=…/*.parquet; land the feature log there first: rheostat log sink --out {log}"
        raise TrainingSetError(msg)
    # Older files have fewer columns, and may come first; what was not logged then is null.
    frames = [pl.DataFrame(schema=FEATURE_LOG), *[read_parquet([file]) for file in files]]
    landed = pl.concat(frames, how="diagonal")
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
    events = once.unique(_EVENT, keep="first", maintain_order=True)
    backs = sorted(log.parent.glob("return_log/date=*/*.parquet"), key=str)
    returns = read_parquet(backs) if backs else pl.DataFrame(schema=RETURN_LOG)
    sold = _sold(events, returns)
    examples = _labelled(rows, sold, horizon_ms)
    make_folder(out.parent)
    write_parquet(out, examples)
    return Summary(
        rows=len(examples),
        censored=len(in_range) - len(rows),
        repeated=len(landed) - len(once),
        next_views=examples["next_view_item"].count(),
        carts=int(examples["added_to_cart"].sum()),
        purchases=int(examples["purchased"].sum()),
        revenue=float(examples["revenue"].sum()),
        returned=int(sold["returned"].sum()),
    )


def _sold(events: pl.DataFrame, returns: pl.DataFrame) -> pl.DataFrame:
    """Return the events with what came back of purchases: whether it `returned`, what is left of it, and its value."""
    numbered = events.with_row_index("purchase")
    purchases = numbered.filter(pl.col("kind") == Kind.PURCHASE)
    of_purchase = ["shopper_id", "item_id"]
    backs = (
        returns.unique([*of_purchase, "event_id"], keep="first", maintain_order=True)
        .select(*of_purchase, pieces="quantity", refund="refund", back_at="event_time_ms")
        .sort("back_at")
        .join_asof(
            purchases.select(*of_purchase, "purchase", "quantity", "value", at="interaction_time_ms").sort("at"),
            left_on="back_at",
            right_on="at",
            by=of_purchase,
            check_sortedness=False,
        )
        .drop_nulls("purchase")
        .with_columns(quantity=pl.col("quantity").fill_null(1))
        .with_columns(paid=pl.col("value") * (pl.col("pieces") / pl.col("quantity")).clip(0, 1))
        .group_by("purchase")
        .agg(pieces=pl.col("pieces").sum(), paid_back=pl.coalesce("refund", "paid").sum())
    )
    left = pl.col("quantity").fill_null(1) - pl.col("pieces").fill_null(0)
    return numbered.join(backs, on="purchase", how="left", maintain_order="left").with_columns(
        returned=pl.col("pieces").is_not_null(),
        is_sold=(pl.col("kind") == Kind.PURCHASE) & (left > 0),
        value=(pl.col("value") - pl.col("paid_back").fill_null(0.0)).clip(lower_bound=0.0),
    )


def _labelled(rows: pl.DataFrame, log: pl.DataFrame, horizon_ms: int) -> pl.DataFrame:
    did = log.select("shopper_id", "item_id", "kind", "value", "is_sold", at="interaction_time_ms").sort(
        "at", maintain_order=True
    )
    views = did.filter(pl.col("kind") == Kind.VIEW).select("shopper_id", "at", next_view_item="item_id", viewed="at")
    totals = did.select(
        "shopper_id",
        "at",
        carts=(pl.col("kind") == Kind.ADD_TO_CART).cum_sum().over("shopper_id"),
        bought=pl.col("is_sold").cum_sum().over("shopper_id"),
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
