"""The feature log lands as Parquet, each record once, whatever happens in between; Feast joins it in time."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec
import pandas as pd
import polars as pl
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from feast import FeatureStore
from support.records import feature_record
from typer.testing import CliRunner

from features.errors import PositionError
from features.interaction import Interaction
from features.row import Value
from features.sources.simulator import shop
from features.spec import DAY_MS, FEATURES, View
from features.stores.applied import feast_repo
from infra.local.kafka import Broker
from streaming.cli.main import app
from streaming.config import Cluster
from streaming.io.columns import feature_columns
from streaming.io.feed import Feed, to_item
from streaming.io.topic_admin import create_topics
from streaming.io.topics import watermarks
from streaming.offline import tables
from streaming.offline.position import LANDED
from streaming.offline.sink import land
from streaming.offline.tables import FEATURE_LOG, ITEM_LOG
from streaming.records import encode, now_ms
from streaming.schemas import FeatureRecord, Topic

START_MS = now_ms() // DAY_MS * DAY_MS - DAY_MS - 5_000  # a few seconds before midnight


@pytest.fixture(scope="module")
def records(cluster: Cluster) -> list[FeatureRecord]:
    """The rows of some interactions on both sides of midnight, on the log with a bad record among them."""
    history: dict[str, list[Interaction]] = {}
    records = []
    with Feed(cluster) as feed:
        feed.items(shop.items())
        feed.raw(Topic.ITEMS, shop.items()[0].item_id, None)
        for n, interaction in enumerate(islice(shop.interactions(3, START_MS, 20), 200)):
            history.setdefault(interaction.shopper_id, []).append(interaction)
            records.append(feature_record(history[interaction.shopper_id], START_MS * 1000 + n, n))
        for n, record in enumerate(records):
            feed.raw(Topic.FEATURE_LOG, record.row.shopper_id, encode(record))
            if n == 100:
                feed.raw(Topic.FEATURE_LOG, "bad", b"{")
    return records


def land_all(cluster: Cluster, folder: Path, batch_rows: int = 50) -> int:
    landed = land(cluster, folder, until_end=True, batch_rows=batch_rows, batch_s=60.0)
    return landed["feature_log"].rows


def landed(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "feature_log" / "**" / "*.parquet", hive_partitioning=True).sort(
        "created_timestamp"
    )


def test_every_row_lands_once_with_every_column(cluster: Cluster, records: list[FeatureRecord], tmp_path: Path) -> None:
    result = land(cluster, tmp_path, until_end=True, batch_rows=50, batch_s=60.0)["feature_log"]
    assert (result.rows, result.undecodable) == (len(records), 1)
    frame = landed(tmp_path)
    assert {**frame.schema, "date": pl.Date} == {**FEATURE_LOG, "date": pl.Date}
    assert {path.parent.name for path in tmp_path.glob("feature_log/*/*.parquet")} == {
        f"date={date}" for date in frame["event_timestamp"].dt.date().unique()
    }
    assert frame["date"].n_unique() == 2
    for row, record in zip(frame.iter_rows(named=True), records, strict=True):
        for name, value in feature_columns(record).items():
            assert row[name] == (list(value) if isinstance(value, tuple) else value), name
        assert row["event_timestamp"].timestamp() * 1000 == pytest.approx(record.row.event_time_ms)
        assert row["rec_id"] == record.rec_id


def test_sink_that_was_cut_off_lands_the_rest_once(
    cluster: Cluster, records: list[FeatureRecord], tmp_path: Path
) -> None:
    land_all(cluster, tmp_path)
    assert land_all(cluster, tmp_path) == 0
    # As if it had been cut off in its last batch: files are there, but not that they are.
    marker = tmp_path / "feature_log" / LANDED
    position = json.loads(marker.read_text(encoding="utf-8"))
    last = max(tmp_path.glob("feature_log/*/0-*.parquet"), key=lambda path: int(path.stem.split("-")[1]))
    position["next"]["0"] = int(last.stem.split("-")[1])
    marker.write_text(json.dumps(position), encoding="utf-8")
    (last.parent / "0-9999-9999.part").write_bytes(b"half")
    assert 0 < land_all(cluster, tmp_path, batch_rows=7) <= 50
    assert landed(tmp_path)["rec_id"].to_list() == [record.rec_id for record in records]
    assert not list(tmp_path.glob("feature_log/*/*.part"))


def test_feast_joins_the_row_that_was_known_at_a_time_and_materializes_the_newest(
    cluster: Cluster, records: list[FeatureRecord], tmp_path: Path
) -> None:
    repo = feast_repo(tmp_path / "repo")
    land_all(cluster, repo / "data")
    store = FeatureStore(repo_path=str(repo))
    by_shopper: dict[str, list[FeatureRecord]] = {}
    for record in records:
        by_shopper.setdefault(record.row.shopper_id, []).append(record)
    shopper, rows = max(by_shopper.items(), key=lambda pair: len(pair[1]))
    assert len(rows) > 1
    questions = [
        (row.row.event_time_ms + shift, row if shift >= 0 else before)
        for before, row in zip([None, *rows], rows, strict=False)
        for shift in (-1, 0, 1)
    ]
    times = [datetime.fromtimestamp(time_ms / 1000, UTC) for time_ms, _ in questions]
    entities = pd.DataFrame({"shopper_id": shopper, "event_timestamp": times, "asked": range(len(questions))})
    names = [f"{View.SESSION}:session_length", f"{View.SESSION}:recent_items", f"{View.PROFILE}:evidence_count"]
    got = store.get_historical_features(entities, names).to_df().set_index("asked")
    for n, (_, expected) in enumerate(questions):
        assert (expected is not None) == (n in got.index)  # Feast leaves out what it has no row for
        if expected is not None:
            assert got.loc[n, "evidence_count"] == expected.row.evidence_count
            assert list(got.loc[n, "recent_items"]) == list(expected.row.recent_items)
    store.materialize_incremental(datetime.now(UTC) + timedelta(minutes=1))  # every view
    wanted = [feature.name for feature in FEATURES[View.PROFILE] if feature.name != "profile_state"]
    online = store.get_online_features([f"{View.PROFILE}:{name}" for name in wanted], [{"shopper_id": shopper}])
    newest = feature_columns(rows[-1])
    for name, (value,) in online.to_dict().items():
        if name != "shopper_id":
            expected_value = newest[name]
            assert value == (list(expected_value) if isinstance(expected_value, tuple) else expected_value), name
    sold = store.get_online_features([f"{View.ITEM}:stock"], [{"item_id": item.item_id} for item in shop.items()])
    assert sold.to_dict()["stock"] == [0, *(item.stock for item in shop.items()[1:])]


def test_items_land_with_the_time_of_their_change(
    cluster: Cluster, records: list[FeatureRecord], tmp_path: Path
) -> None:
    landed = land(cluster, tmp_path, until_end=True, batch_rows=1_000, batch_s=60.0)["item_log"]
    frame = pl.read_parquet(tmp_path / "item_log" / "**" / "*.parquet", hive_partitioning=False)
    assert frame.schema == ITEM_LOG
    assert landed.rows == len(frame) == len(shop.items()) + 1
    assert frame["item_id"].to_list() == [*(item.item_id for item in shop.items()), shop.items()[0].item_id]
    assert frame["offset"].to_list() == list(range(len(frame)))
    assert frame["margin"].to_list() == [*(to_item(item).margin for item in shop.items()), None]
    assert frame["price"][-1] is None
    assert (now_ms() - frame["event_time_ms"]).is_between(0, 600_000).all()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def log(cluster: Cluster, new_topics: Callable[[], Broker], records: list[FeatureRecord]) -> Cluster:
    """A log of its own with all records on one partition, under one shopper's key."""
    own = new_topics().cluster
    write(own, records)
    return own


def write(cluster: Cluster, records: list[FeatureRecord]) -> None:
    with Feed(cluster) as feed:
        for record in records:
            one = msgspec.structs.replace(record, row=replace(record.row, shopper_id="one"))
            feed.raw(Topic.FEATURE_LOG, "one", encode(one))


def test_topic_that_was_made_anew_is_refused_and_what_has_landed_stays(
    log: Cluster, records: list[FeatureRecord], tmp_path: Path
) -> None:
    land_all(log, tmp_path)
    before = content(tmp_path)
    name = log.topic(Topic.FEATURE_LOG)
    admin = AdminClient({"bootstrap.servers": log.bootstrap_servers})
    admin.delete_topics([name])[name].result(timeout=30)
    eventually(lambda: name not in admin.list_topics(timeout=10).topics)
    create_topics(log)
    write(log, records[:5])
    for _ in range(2):
        with pytest.raises(PositionError, match=r"it was deleted and made anew"):
            land_all(log, tmp_path)
        assert content(tmp_path) == before
    write(log, records * 2)  # longer than the old one was
    with pytest.raises(PositionError, match=r"it was deleted and made anew"):
        land_all(log, tmp_path)
    assert content(tmp_path) == before


def test_topic_that_is_shorter_than_what_has_landed_of_it_is_refused(log: Cluster, tmp_path: Path) -> None:
    land_all(log, tmp_path)
    (marker,) = tmp_path.glob(f"feature_log/{LANDED}")
    of_older_version = {number: offset + 1_000 for number, offset in json.loads(marker.read_bytes())["next"].items()}
    marker.write_text(json.dumps(of_older_version))
    before = content(tmp_path)
    with pytest.raises(PositionError, match=r"up to offset \d+, and the topic ends at \d+"):
        land_all(log, tmp_path)
    assert content(tmp_path) == before


def test_position_of_an_older_version_is_gone_on_with(log: Cluster, tmp_path: Path) -> None:
    land_all(log, tmp_path)
    (marker,) = tmp_path.glob(f"feature_log/{LANDED}")
    marker.write_text(json.dumps(json.loads(marker.read_bytes())["next"]))
    assert land_all(log, tmp_path) == 0
    assert json.loads(marker.read_bytes())["topic_id"]


def test_what_the_retention_took_before_it_landed_is_counted_and_said(
    log: Cluster, records: list[FeatureRecord], tmp_path: Path
) -> None:
    land_all(log, tmp_path)
    write(log, records)
    places = [TopicPartition(log.topic(Topic.FEATURE_LOG), n, len(records) + 190) for n in range(2)]
    ends = {place.partition: watermarks(log, Topic.FEATURE_LOG)[place.partition].high for place in places}
    (place,) = [place for place in places if ends[place.partition]]
    admin = AdminClient({"bootstrap.servers": log.bootstrap_servers})
    admin.delete_records([place])[place].result(timeout=30)
    command = ["--topic-prefix", log.topic_prefix, "log", "sink", "--bootstrap-servers", log.bootstrap_servers]
    command += ["--once", "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert (figures["feature_log"]["rows"], figures["feature_log"]["missing"]) == (10, 190)
    assert "190 records were gone before they could land" in result.stderr
    assert CliRunner().invoke(app, command).exit_code == 0
    assert len(landed(tmp_path)) == len(records) + 10


def test_files_without_a_position_are_not_touched(log: Cluster, tmp_path: Path) -> None:
    land_all(log, tmp_path)
    (tmp_path / "feature_log" / LANDED).unlink()
    before = content(tmp_path)
    with pytest.raises(PositionError, match="no _landed"):
        land_all(log, tmp_path)
    assert content(tmp_path) == before


def test_record_at_which_anything_raises_is_counted_and_the_others_land(
    log: Cluster, records: list[FeatureRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = tables.feature_columns

    def raising(record: FeatureRecord) -> dict[str, Value]:
        assert record.rec_id != records[3].rec_id
        return columns(record)

    monkeypatch.setattr(tables, "feature_columns", raising)
    result = land(log, tmp_path, until_end=True, batch_rows=50, batch_s=60.0)["feature_log"]
    assert (result.rows, result.undecodable) == (len(records) - 1, 1)


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)
