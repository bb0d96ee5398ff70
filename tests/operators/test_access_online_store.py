"""The operator that writes to Feast without a JVM: which failures are a record's, and which the store's."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from pyflink.common import Row
from support.harness import KeyedHarness
from support.records import feature_record, views

from streaming.config import FeaturesConfig, JobConfig
from streaming.io import online_store
from streaming.operators.access_online_store import AccessOnlineStore
from streaming.records import encode
from streaming.schemas import DeadLetter, FeatureRecord, Item, Outgoing, ProfileRequest, Reason, StoredProfile, Topic

START_MS = 1_700_000_000_000


class Store:
    """An online store that cannot hold the rows of some shoppers."""

    def __init__(self, *_: object) -> None:
        self.rows: dict[str, FeatureRecord] = {}
        self.items: dict[str, Item | None] = {}
        self.unbearable: set[str] = set()
        self.is_broken = False

    def write(self, records: Iterable[FeatureRecord]) -> int:
        rows = {record.row.shopper_id: record for record in records}
        if self.is_broken or self.unbearable & rows.keys():
            msg = "int too big to convert"
            raise OverflowError(msg)
        self.rows |= rows
        return len(rows)

    def write_items(self, items: Iterable[tuple[str, Item | None]]) -> int:
        self.items |= dict(items)
        return len(dict(items))

    def profiles(self, shopper_ids: Iterable[str]) -> list[StoredProfile]:
        if self.is_broken or self.unbearable & set(shopper_ids):
            msg = "no such table"
            raise LookupError(msg)
        return [StoredProfile(shopper_id=name, spec_version=2, profile_state=b"") for name in shopper_ids]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> KeyedHarness:
    monkeypatch.setattr(online_store, "OnlineStore", Store)
    job = JobConfig("nowhere:1", "group")
    return KeyedHarness(AccessOnlineStore(FeaturesConfig(job, Path("nowhere"))))


def batch(harness: KeyedHarness, topic: Topic, *records: tuple[str, bytes | None]) -> list[Outgoing]:
    keys, values = zip(*records, strict=True)
    row = Row(topic.value, 0, list(range(len(keys))), list(keys), list(values))
    return list(harness._function.process_element(row, None))


def row(shopper_id: str) -> tuple[str, bytes]:
    return shopper_id, encode(feature_record(views(shopper_id, START_MS)))


def store(harness: KeyedHarness) -> Store:
    kept: Store = harness._function._store
    return kept


def test_row_that_the_store_cannot_hold_is_a_dead_letter_and_the_others_are_written(harness: KeyedHarness) -> None:
    store(harness).unbearable = {"b"}
    ((topic, _, raw),) = batch(harness, Topic.FEATURE_LOG, row("a"), row("b"), row("c"))
    letter = msgspec.json.decode(raw, type=DeadLetter)
    assert (topic, letter.reason, letter.origin.offset) == (Topic.DEAD_LETTERS, Reason.FAILED, 1)
    assert "OverflowError" in letter.error
    assert store(harness).rows.keys() == {"a", "c"}
    assert harness.counts == {"rows_written_total": 2, "dead_letters_total{reason=failed}": 1, "profiles_read_total": 0}


def test_row_alone_is_to_blame_if_the_store_answers(harness: KeyedHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store(harness), "write", lambda records: [1][1])
    ((_, _, raw),) = batch(harness, Topic.FEATURE_LOG, row("a"))
    assert msgspec.json.decode(raw, type=DeadLetter).reason is Reason.FAILED


@pytest.mark.parametrize("shoppers", [["a"], ["a", "b"]])
def test_store_that_takes_no_row_fails_the_job(harness: KeyedHarness, shoppers: list[str]) -> None:
    store(harness).is_broken = True
    with pytest.raises((OverflowError, LookupError)):
        batch(harness, Topic.FEATURE_LOG, *map(row, shoppers))


def test_profile_that_cannot_be_read_is_a_dead_letter(harness: KeyedHarness) -> None:
    store(harness).unbearable = {"b"}
    requests = [(name, encode(ProfileRequest(shopper_id=name))) for name in ("a", "b")]
    emitted = batch(harness, Topic.PROFILE_REQUESTS, *requests)
    assert sorted((topic, key) for topic, key, _ in emitted) == [
        (Topic.DEAD_LETTERS, Topic.PROFILE_REQUESTS),
        (Topic.PROFILES, "a"),
    ]


def test_item_is_gone_with_a_record_that_is_refused(harness: KeyedHarness) -> None:
    good = encode(Item(item_id="i", name="n", category="c"))
    assert batch(harness, Topic.ITEMS, ("i", good)) == []
    assert store(harness).items["i"] is not None
    assert batch(harness, Topic.ITEMS, ("i", good.replace(b'"stock":1', b'"stock":"many"'))) == []
    assert store(harness).items == {"i": None}
