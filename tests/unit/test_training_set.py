"""Labels against a search through the whole log for every row."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import msgspec
import polars as pl
import pytest
from support.records import feature_record

from features.errors import TrainingSetError
from features.interaction import Interaction, Kind
from features.sources.simulator import shop
from streaming.offline import training_set
from streaming.offline.tables import Record, feature_frame, return_log
from streaming.schemas import FeatureRecord, Return

START_MS = 1_700_000_000_000
HORIZON_MS = 30_000


@pytest.fixture(scope="module")
def log() -> list[FeatureRecord]:
    """Rows of a shop of few shoppers, some of whose interactions fall on one moment or come late."""
    history: dict[str, list[Interaction]] = {}
    records = []
    for n, interaction in enumerate(
        islice(shop.interactions(3, START_MS, 2, shop.Parameters(shopper_count=12, visitor_count=12)), 400)
    ):
        shift = -700 if n % 17 == 0 else 0
        moved = replace(interaction, event_time_ms=(interaction.event_time_ms + shift) // 1_500 * 1_500)
        history.setdefault(interaction.shopper_id, []).append(moved)
        records.append(feature_record(history[interaction.shopper_id], START_MS * 1000 + n, n))
    return records


def land(log: list[FeatureRecord], folder: Path) -> Path:
    (folder / "date=2023-11-14").mkdir(parents=True)
    feature_frame(log).write_parquet(folder / "date=2023-11-14" / "0-0-399.parquet")
    return folder


def naive_labels(record: FeatureRecord, log: list[FeatureRecord]) -> dict[str, object]:
    now = record.row.event_time_ms
    after = [
        interaction
        for interaction in log
        if interaction.row.shopper_id == record.row.shopper_id
        and now < interaction.interaction_time_ms <= now + HORIZON_MS
    ]
    views = sorted(
        (record for record in after if record.kind is Kind.VIEW), key=lambda record: record.interaction_time_ms
    )
    return {
        "next_view_item": {v.item_id for v in views if v.interaction_time_ms == views[0].interaction_time_ms} or {None},
        "next_view_delay_ms": views[0].interaction_time_ms - now if views else None,
        "added_to_cart": any(second.kind is Kind.ADD_TO_CART for second in after),
        "purchased": any(second.kind is Kind.PURCHASE for second in after),
        "revenue": sum(second.value or 0.0 for second in after),
    }


def test_labels_are_what_came_after_each_row_within_the_horizon(log: list[FeatureRecord], tmp_path: Path) -> None:
    from_ms, to_ms, out = START_MS + 20_000, START_MS + 190_000, tmp_path / "out" / "set.parquet"
    summary = training_set.build(land(log, tmp_path), from_ms, to_ms, HORIZON_MS, out)
    end_ms = max(interaction.interaction_time_ms for interaction in log)
    in_range = [interaction for interaction in log if from_ms <= interaction.row.event_time_ms < to_ms]
    kept = [record for record in in_range if record.row.event_time_ms + HORIZON_MS <= end_ms]
    examples = pl.read_parquet(out)
    assert examples["rec_id"].to_list() == [record.rec_id for record in kept]
    assert 0 < summary.censored == len(in_range) - len(kept)
    for got, record in zip(examples.iter_rows(named=True), kept, strict=True):
        expected = naive_labels(record, log)
        assert got["next_view_item"] in expected.pop("next_view_item")  # type: ignore[operator]
        assert {name: got[name] for name in expected} == pytest.approx(expected)
    assert summary.rows == len(kept)
    assert min(summary.next_views, summary.carts, summary.purchases, summary.revenue) > 0


def test_what_came_back_was_not_sold(log: list[FeatureRecord], tmp_path: Path) -> None:
    """All purchases of one shopper come back, of another one's a part, and twice the same; the log ends later."""
    sold = [record for record in log if record.kind is Kind.PURCHASE and record.value]
    shopper, other = (record.row.shopper_id for record in sold[:2])
    assert shopper != other
    backs = []
    for n, record in enumerate(sold):
        if record.row.shopper_id not in (shopper, other):
            continue
        whole = record.row.shopper_id == shopper
        back = {"event_id": f"back-{n}", "shopper_id": record.row.shopper_id, "item_id": record.item_id}
        back |= {"order_id": "o", "event_time_ms": record.interaction_time_ms + 1}
        back |= {"quantity": record.quantity if whole else 0, "refund": None if whole else record.value / 4}
        backs += [Record(record.row.shopper_id, msgspec.convert(back, Return), START_MS, n)] * 2
    before = training_set.build(land(log, tmp_path / "feature_log"), 0, 1 << 62, HORIZON_MS, tmp_path / "all.parquet")
    folder = tmp_path / "return_log" / "date=2023-11-14"
    folder.mkdir(parents=True)
    return_log(backs).write_parquet(folder / "0-0-1.parquet")
    after = training_set.build(tmp_path / "feature_log", 0, 1 << 62, HORIZON_MS, tmp_path / "left.parquet")
    assert (before.returned, after.returned) == (0, len(backs) // 2)
    mine, theirs = pl.col("shopper_id") == shopper, pl.col("shopper_id") == other
    whole, left = (pl.read_parquet(tmp_path / name) for name in ("all.parquet", "left.parquet"))
    assert whole.filter(mine)["purchased"].any()
    assert not left.filter(mine)["purchased"].any()
    assert left.filter(mine)["revenue"].sum() == 0.0
    assert left.filter(theirs)["purchased"].equals(whole.filter(theirs)["purchased"])
    assert left.filter(theirs)["revenue"].sum() == pytest.approx(0.75 * whole.filter(theirs)["revenue"].sum())
    rest = ~(mine | theirs)
    assert left.filter(rest).equals(whole.filter(rest))


def test_files_of_an_older_version_are_read_with_the_newer_ones(log: list[FeatureRecord], tmp_path: Path) -> None:
    folder, half = tmp_path / "log" / "date=2023-11-14", len(log) // 2
    folder.mkdir(parents=True)
    feature_frame(log[:half]).drop("quantity").write_parquet(folder / "0-0-1.parquet")
    feature_frame(log[half:]).write_parquet(folder / "0-2-3.parquet")
    mixed = training_set.build(tmp_path / "log", 0, 1 << 62, HORIZON_MS, tmp_path / "mixed.parquet")
    assert mixed == training_set.build(land(log, tmp_path / "new"), 0, 1 << 62, HORIZON_MS, tmp_path / "new.parquet")
    assert pl.read_parquet(tmp_path / "mixed.parquet")["quantity"].null_count() > 0


def test_rows_are_those_that_were_logged_to_the_bit(log: list[FeatureRecord], tmp_path: Path) -> None:
    training_set.build(land(log, tmp_path), 0, 1 << 62, HORIZON_MS, tmp_path / "set.parquet")
    examples = pl.read_parquet(tmp_path / "set.parquet").drop(training_set.LABELS)
    assert examples.equals(feature_frame(log[: len(examples)]))


def test_row_that_was_logged_again_counts_once_and_the_first_counts(log: list[FeatureRecord], tmp_path: Path) -> None:
    again = [
        msgspec.structs.replace(interaction, created_time_us=interaction.created_time_us + 10**9, value=9.9)
        for interaction in log[:50]
    ]
    summary = training_set.build(land([*again, *log], tmp_path), 0, 1 << 62, HORIZON_MS, tmp_path / "set.parquet")
    assert summary.repeated == 50
    alone = training_set.build(land(log, tmp_path / "alone"), 0, 1 << 62, HORIZON_MS, tmp_path / "alone.parquet")
    assert pl.read_parquet(tmp_path / "set.parquet").equals(pl.read_parquet(tmp_path / "alone.parquet"))
    assert alone.repeated == 0


@pytest.mark.parametrize(("from_ms", "words"), [(0, "rheostat log sink"), (START_MS + 199_000, "shorter horizon")])
def test_nothing_to_make_a_set_from_is_said(log: list[FeatureRecord], tmp_path: Path, from_ms: int, words: str) -> None:
    folder = land(log, tmp_path / "log") if from_ms else tmp_path
    with pytest.raises(TrainingSetError, match=words):
        training_set.build(folder, from_ms, 1 << 62, HORIZON_MS, tmp_path / "set.parquet")
