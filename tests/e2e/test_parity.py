"""What the job logged is what the pure functions make of the raw topics, on the generator's and on JData's traffic."""

import random
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import msgspec
import polars as pl
import pytest
from support.data import HAS_DATA, JDATA, needs_data
from support.records import feature_record, views

from features.interaction import Interaction
from features.sources.datasets import jdata
from features.sources.simulator import shop
from features.spec import DAY_MS
from infra.local.stack import Stack
from infra.local.subscriber import Subscriber
from onnx_models.artifact import read_items, read_manifest
from streaming.control import policies
from streaming.io.feed import to_item
from streaming.io.online_store import OnlineStore
from streaming.io.topics import read_topic
from streaming.offline import training_set
from streaming.offline.evaluation import evaluate
from streaming.offline.logged_slates import LoggedSlates, policies_in_force
from streaming.offline.parity import Report, check
from streaming.offline.sink import land
from streaming.offline.tables import feature_frame
from streaming.records import decode_features, decode_request_record, encode, now_ms
from streaming.schemas import (
    Exploration,
    FeatureRecord,
    Impression,
    Policy,
    Recommendation,
    Request,
    StoredProfile,
    Topic,
)
from streaming.testing import FeedbackLoop

ROOT = Path(__file__).parents[2]
ARTIFACT = ROOT / "onnx_models" / "artifacts" / "generator"
DEADLINE_S = 120.0
GENERATOR_COUNT, JDATA_COUNT = 2_000, 3_000
RETURNING = "parity-shopper-7"  # of the generator
ONLY_IN_FEAST = "parity-only-in-feast"
START_MS = now_ms() - 3_600_000
TURNED = Policy(
    version=0,
    author="test",
    weights={"relevance": 1.0, "revenue": 0.5, "conversion": 0.5},
    diversity=0.1,
    exploration=Exploration(budget=0.2, epsilon=0.2, optimism=0.5),
)


@pytest.fixture(scope="module")
def traffic() -> list[Interaction]:
    """Both logs, and of the generator's each interaction up to ten seconds after its time."""
    rng = random.Random(3)
    of_shop = islice(shop.interactions(seed=21, start_ms=START_MS, events_per_second=20), GENERATOR_COUNT)
    log = [replace(did, shopper_id=f"parity-{did.shopper_id}") for did in of_shop]
    delayed = sorted(
        (interaction.event_time_ms + rng.choice([0, 0, 0, 2_000, 10_000]), n) for n, interaction in enumerate(log)
    )
    arriving = [log[n] for _, n in delayed]
    return [*arriving, *(islice(jdata.open_log(JDATA).interactions(), JDATA_COUNT) if HAS_DATA else ())]


@pytest.fixture(scope="module")
def turned(stack: Stack) -> Policy:
    policy = msgspec.structs.replace(TURNED, version=policies.read(stack.cluster).table.version + 1)
    stack.feed.policy(policy)
    return policy


@pytest.fixture(scope="module")
def logged(stack: Stack, traffic: list[Interaction], turned: Policy) -> dict[str, FeatureRecord]:
    """The whole log after `traffic`, by event id: the catalogue changes in it, and a shopper has a profile in Feast."""
    store = OnlineStore(stack.feast_repo, 1.0)
    for shopper_id in (RETURNING, ONLY_IN_FEAST):
        old = [replace(view, event_id=f"old-{n}") for n, view in enumerate(views(shopper_id, *range(1, 4)))]
        long_ago = [replace(interaction, event_time_ms=START_MS - 40 * DAY_MS) for interaction in old]
        store.write([feature_record(long_ago)])
    store.close()
    with Subscriber(stack.cluster, Topic.PROFILES, StoredProfile) as profiles:
        stack.feed.interaction(
            replace(traffic[0], event_id="returning", shopper_id=RETURNING, event_time_ms=START_MS - 1)
        )
        deadline = time.monotonic() + DEADLINE_S
        # The stack's first shopper has asked as well, and may be answered only now.
        while (profile := profiles.poll(0.2)) is None or profile.shopper_id != RETURNING:
            stack.assert_running()
            assert time.monotonic() < deadline, "no profile came"
    future = replace(traffic[0], event_id="future", event_time_ms=now_ms() + DAY_MS)  # has a dead letter and no row
    stack.feed.interaction(future)
    for n, interaction in enumerate(traffic):
        if n == GENERATOR_COUNT // 2:
            for item in shop.items()[::3]:
                changed = msgspec.structs.replace(to_item(item), price=1.0 + n % 5, category="sale")
                stack.feed.raw(Topic.ITEMS, item.item_id, encode(changed))
        stack.feed.interaction(interaction)
    stack.feed.flush()
    missing = {"returning", *(interaction.event_id for interaction in traffic)}
    deadline = time.monotonic() + DEADLINE_S
    with Subscriber(stack.cluster, Topic.FEATURE_LOG, FeatureRecord) as log:
        while missing:
            if record := log.poll(0.2):
                missing.discard(record.event_id)
            stack.assert_running()
            assert time.monotonic() < deadline, f"{len(missing)} rows of {len(traffic)} did not come"
    raw_records = [raw for _, _, raw in read_topic(stack.cluster, Topic.FEATURE_LOG)]
    records = [decode_features(raw or b"") for raw in raw_records]
    return {record.event_id: record for record in records}


@pytest.fixture(scope="module")
def requested(stack: Stack, logged: dict[str, FeatureRecord]) -> set[str]:
    """The rec_ids of the request log, after requests of shoppers with and without a visit, a profile, and clicks."""
    who = [
        RETURNING,
        ONLY_IN_FEAST,
        "parity-stranger",
        *sorted({record.row.shopper_id for record in logged.values()})[:40],
    ]
    newest = {record.row.shopper_id: record.row for record in logged.values()}
    for n, shopper_id in enumerate(who):
        visit = newest[shopper_id].session_id if n % 2 == 0 and shopper_id in newest else f"visit-{n}"
        request = Request(
            request_id=f"parity-{n}",
            shopper_id=shopper_id,
            session_id=visit,
            surface="product" if n % 3 == 0 else "home",
            event_time_ms=now_ms(),
            context_item=shop.items()[n].item_id if n % 3 == 0 else None,
        )
        stack.feed.request(request)
    stack.feed.flush()
    deadline = time.monotonic() + DEADLINE_S
    waited_for = {f"parity-{n}" for n in range(len(who))}
    while True:
        records = [decode_request_record(raw or b"") for _, _, raw in read_topic(stack.cluster, Topic.REQUEST_LOG)]
        if {record.request.request_id for record in records} >= waited_for:
            return {record.rec_id for record in records}
        assert time.monotonic() < deadline, "requests without a record"
        time.sleep(0.2)


@pytest.mark.usefixtures("logged")
def test_slates_are_compressed_on_their_way(stack: Stack) -> None:
    topic = Topic.RECOMMENDATIONS
    stored = stack.broker.data.glob(f"{stack.cluster.topic(topic)}-*/*.log")
    said = sum(len(raw or b"") for _, _, raw in read_topic(stack.cluster, topic))
    assert 0 < sum(segment.stat().st_size for segment in stored) < said / 1.5


def test_what_a_slate_was_drawn_from_draws_it_again(
    stack: Stack, logged: dict[str, FeatureRecord], turned: Policy, tmp_path: Path
) -> None:
    shown = 0
    for _, _, raw in read_topic(stack.cluster, Topic.RECOMMENDATIONS):
        slate = msgspec.json.decode(raw or b"", type=Recommendation)
        if slate.policy_version == turned.version:
            loop = FeedbackLoop()
            loop.shown(slate)
            seen = Impression(
                rec_id=slate.rec_id,
                shopper_id=slate.shopper_id,
                items=tuple(item.item_id for item in slate.slate),
                event_time_ms=slate.event_time_ms + 1,
            )
            (outcome,) = loop.feedback(seen)
            stack.feed.raw(Topic.OUTCOMES, outcome.shopper_id, encode(outcome))
            shown += 1
    stack.feed.flush()
    land(stack.cluster, tmp_path, until_end=True, batch_rows=1_000, batch_s=60.0)
    manifest = read_manifest(ARTIFACT)
    slates = LoggedSlates(tmp_path, read_items(ARTIFACT, manifest), manifest.model_version, 0, START_MS + 1_800_000)
    in_force = policies_in_force(tmp_path)
    assert in_force.policies["global"] == turned
    evaluation = evaluate(slates, in_force, in_force, 0.95)
    assert evaluation.slates == shown > 0.9 * GENERATOR_COUNT
    assert slates.of_unknown_items == 0
    assert evaluation.reproduced > 0.9999  # logged in 32 bits: of two that are as good the other one may win


def parity(stack: Stack, **bounds: int) -> Report:
    return check(stack.cluster, ARTIFACT, **bounds)


def test_every_row_is_equal_to_the_bit(stack: Stack, logged: dict[str, FeatureRecord], requested: set[str]) -> None:
    report = parity(stack)
    assert report.first_difference is None
    assert report.first_missing is None
    assert (report.equal, report.without_history, report.vectors_different) == (len(logged), 0, 0)
    assert report.requests_equal >= len(requested) > 40
    assert report.is_parity


@needs_data
def test_both_logs_were_in_it(logged: dict[str, FeatureRecord]) -> None:
    assert sum(event_id.startswith("jdata-") for event_id in logged) == JDATA_COUNT
    assert sum(event_id.startswith("shop-21-") for event_id in logged) == GENERATOR_COUNT


def test_the_traffic_had_in_it_what_makes_it_hard(logged: dict[str, FeatureRecord]) -> None:
    rows = list(logged.values())
    assert any(row.row.late_count for row in rows)
    assert len({row.items_offset for row in rows}) > 1
    assert any("sale" in row.row.long_interests[0].keys for row in rows)
    of_returning = [row for row in rows if row.row.shopper_id == RETURNING]
    assert {record.profile.partition("[")[0] for record in of_returning} >= {Topic.PROFILES.value}
    # The profile was there to be read, although rows of the shopper's were written before and beside that.
    assert all(record.row.evidence_count == record.sequence + 3 for record in of_returning if record.profile)


@pytest.mark.nightly  # the whole of it is compared above
def test_a_range_of_time_is_compared_alone(stack: Stack, logged: dict[str, FeatureRecord]) -> None:
    from_ms, to_ms = START_MS + 10_000, START_MS + 20_000
    inside = [record for record in logged.values() if from_ms <= record.interaction_time_ms < to_ms]
    assert 0 < len(inside) < len(logged)
    assert parity(stack, from_ms=from_ms, to_ms=to_ms).equal == len(inside)


def test_training_set_holds_the_very_rows_that_were_scored(
    stack: Stack, logged: dict[str, FeatureRecord], tmp_path: Path
) -> None:
    landed = land(stack.cluster, tmp_path, until_end=True, batch_rows=1_000, batch_s=60.0)
    assert landed["feature_log"].rows == len(logged)
    out = tmp_path / "set.parquet"
    summary = training_set.build(tmp_path / "feature_log", START_MS, START_MS + 90_000, horizon_ms=5_000, out=out)
    examples = pl.read_parquet(out)
    scored = feature_frame([logged[event_id] for event_id in examples["event_id"]])
    assert examples.drop(training_set.LABELS).equals(scored)
    assert summary.rows > 1_000
    assert min(summary.next_views, summary.carts, summary.purchases, summary.revenue) > 0


def test_row_that_says_something_else_is_found_and_named(stack: Stack, logged: dict[str, FeatureRecord]) -> None:
    honest = next(record for record in logged.values() if record.sequence == 1)
    row = msgspec.structs.replace(honest, row=replace(honest.row, gap_mean_ms=7.0))
    stack.feed.raw(Topic.FEATURE_LOG, honest.row.shopper_id, encode(row))
    stack.feed.flush()
    report = parity(stack)
    assert (report.different, report.is_parity) == (1, False)
    assert "gap_mean_ms is 7.0 in the log and None made again" in (report.first_difference or "")
    assert honest.event_id in (report.first_difference or "")


@pytest.mark.nightly  # as a row of an interaction is, above
def test_row_of_a_request_that_says_something_else_is_found_and_named(stack: Stack, requested: set[str]) -> None:
    records = [decode_request_record(raw or b"") for _, _, raw in read_topic(stack.cluster, Topic.REQUEST_LOG)]
    honest = next(record for record in records if record.request.request_id == "parity-2")
    at_ms = honest.request.event_time_ms
    assert parity(stack, from_ms=at_ms, to_ms=at_ms + 1).is_parity
    told = msgspec.structs.replace(honest, clicked=("nothing-of-it",))
    stack.feed.raw(Topic.REQUEST_LOG, honest.row.shopper_id, encode(told))
    stack.feed.flush()
    report = parity(stack, from_ms=at_ms, to_ms=at_ms + 1)
    assert (report.different, report.is_parity) == (1, False)
    assert "request parity-2): clicked is ('nothing-of-it',) in the log" in (report.first_difference or "")


@pytest.mark.usefixtures("logged")
def test_request_of_a_shopper_whom_feast_alone_knows_is_answered_with_the_profile(stack: Stack) -> None:
    with Subscriber(stack.cluster, Topic.RECOMMENDATIONS, Recommendation) as slates:
        deadline = time.monotonic() + DEADLINE_S
        asked, degraded = 0, True
        while degraded:  # one that has waited in vain says so: on a machine that is busy that may be the first
            asked += 1
            request = Request(
                request_id=f"feast-{asked}",
                shopper_id=ONLY_IN_FEAST,
                session_id="visit",
                surface="home",
                event_time_ms=now_ms(),
            )
            stack.feed.request(request)
            stack.feed.flush()
            while (slate := slates.poll(0.2)) is None or slate.request_id != request.request_id:
                stack.assert_running()
                assert time.monotonic() < deadline, "no slate came"
            degraded = slate.degraded
    raw_records = [raw for _, _, raw in read_topic(stack.cluster, Topic.REQUEST_LOG)]
    logged = {record.rec_id: record for record in map(decode_request_record, map(bytes, filter(None, raw_records)))}
    record = logged[slate.rec_id]
    assert (record.row.evidence_count, record.sequence) == (3, 0)
    assert record.profile.startswith(Topic.PROFILES.value)
