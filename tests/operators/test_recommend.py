"""The recommend operator without a JVM: what it emits and what it keeps."""

import pickle
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from support.harness import BundleHarness, KeyedHarness
from support.records import estimates, feature_record, views

from features.interaction import Interaction, Kind
from features.shopper import ShopperState, event_hash
from features.sources.simulator import shop
from features.spec import ALLOWED_LATENESS_MS, DAY_MS, SPEC_VERSION, STATE_TTL_MS
from onnx_models.artifact import Items
from streaming import records
from streaming.config import Cluster, JobConfig, RecommendConfig
from streaming.control.catalogue import Catalogue
from streaming.control.state import ControlState
from streaming.io.feed import to_message
from streaming.operators import recommend, reject_control
from streaming.operators.recommend import Recommend
from streaming.operators.reject_control import RejectControl
from streaming.records import decode_features, decode_request_record, encode, now_ms
from streaming.schemas import (
    Click,
    DeadLetter,
    Fallback,
    FeatureRecord,
    Item,
    ItemEstimate,
    Outgoing,
    Policy,
    ProfileRequest,
    Purchase,
    Reason,
    Recommendation,
    Request,
    RequestRecord,
    StoredProfile,
    Topic,
)
from streaming.scoring import recommender
from streaming.scoring.model import lasting_model

START_MS = 1_700_000_000_000
ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
DECODE: dict[Topic, Callable[[bytes], msgspec.Struct]] = {
    Topic.RECOMMENDATIONS: msgspec.json.Decoder(Recommendation).decode,
    Topic.PROBE_SLATES: msgspec.json.Decoder(Recommendation).decode,
    Topic.FEATURE_LOG: decode_features,
    Topic.PROBE_LOG: decode_features,
    Topic.PROFILE_REQUESTS: msgspec.json.Decoder(ProfileRequest).decode,
    Topic.REQUEST_LOG: decode_request_record,
    Topic.DEAD_LETTERS: msgspec.json.Decoder(DeadLetter).decode,
}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> BundleHarness:
    def empty(cluster: Cluster, items: Items, model_version: str) -> AbstractContextManager[ControlState]:
        return nullcontext(ControlState(Catalogue(items), model_version))

    monkeypatch.setattr(recommend, "shared_control", empty)  # the real one reads a broker
    job = JobConfig("nowhere:1", "group")
    harness = BundleHarness(Recommend(RecommendConfig(job, ARTIFACT)))
    for shop_item in shop.items():
        item = Item(
            item_id=shop_item.item_id,
            name=shop_item.name,
            category=shop_item.category,
            price=shop_item.price,
            stock=shop_item.stock,
        )
        harness.broadcast(Topic.ITEMS, shop_item.item_id, encode(item))
    return harness


def view(n: int, item: str = "i030", shopper: str = "s") -> Interaction:
    return Interaction(f"e{n}", shopper, "x", item, Kind.VIEW, START_MS + n, "tea")


def send(harness: BundleHarness, interaction: Interaction, topic: Topic = Topic.CLICKS) -> dict[Topic, msgspec.Struct]:
    return by_topic(harness.record(topic, interaction.shopper_id, encode(to_message(interaction))))


def by_topic(records: list[Outgoing]) -> dict[Topic, msgspec.Struct]:
    assert len({topic for topic, _, _ in records}) == len(records)
    return {Topic(topic): DECODE[Topic(topic)](value) for topic, _, value in records}


def test_click_leads_to_a_slate_and_the_feature_row_it_was_made_from(harness: BundleHarness) -> None:
    response = send(harness, view(0))
    slate, features = response[Topic.RECOMMENDATIONS], response[Topic.FEATURE_LOG]
    assert isinstance(slate, Recommendation)
    assert isinstance(features, FeatureRecord)
    assert slate.rec_id == features.rec_id
    assert slate.fallback is Fallback.NONE
    assert (features.row.recent_items, features.row.session_counts) == (("i030",), (1, 0, 0, 0))
    assert [key for _, key, _ in harness.output] == ["s", "s", "s"]


def test_repeat_is_answered_with_the_same_id_and_changes_nothing(harness: BundleHarness) -> None:
    first = send(harness, view(0))
    state = dict(harness.state)
    again = send(harness, view(0))
    assert again.keys() == {Topic.RECOMMENDATIONS}
    assert again[Topic.RECOMMENDATIONS].rec_id == first[Topic.RECOMMENDATIONS].rec_id  # type: ignore[attr-defined]
    assert harness.state == state


def test_shoppers_are_kept_apart_and_forgotten_after_the_ttl(harness: BundleHarness) -> None:
    send(harness, view(0))
    send(harness, view(1, shopper="t"))
    assert harness.state.keys() == {"s", "t"}
    assert Recommend.STATE_TTL_MS == STATE_TTL_MS
    state = msgspec.msgpack.decode(harness.state["t"], type=ShopperState)
    assert state.seen == (event_hash("e1"),)


def test_a_bundle_is_answered_at_once_and_its_shoppers_states_are_kept(harness: BundleHarness) -> None:
    clicks = [view(0), view(1, shopper="t"), view(2, "i040")]
    bundle = [harness.numbered(Topic.CLICKS, did.shopper_id, encode(to_message(did))) for did in clicks]
    bundle.insert(1, harness.numbered(Topic.CLICKS, "s", b"{"))
    answers = harness.bundle(bundle)
    of_slates = [key for topic, key, _ in answers if topic == Topic.RECOMMENDATIONS]
    assert of_slates == ["s", "t", "s"]
    rows = [decode_features(value) for topic, _, value in answers if topic == Topic.FEATURE_LOG]
    assert [record.row.recent_items for record in rows] == [("i030",), ("i030",), ("i030", "i040")]
    assert harness.state.keys() == {"s", "t"}
    assert harness.gauges["bundle_size"] == 4
    assert harness.counts["events_total{topic=clicks}"] == 4
    assert harness.counts["dead_letters_total{reason=undecodable}"] == 1


def test_state_from_before_bundles_is_read(harness: BundleHarness) -> None:
    """Flink's Python API kept a pickle of what is now kept as it is."""
    send(harness, view(0))
    harness.state["s"] = pickle.dumps(harness.state["s"])
    features = send(harness, view(1, "i040"))[Topic.FEATURE_LOG]
    assert isinstance(features, FeatureRecord)
    assert (features.sequence, features.row.recent_items) == (2, ("i030", "i040"))


def test_bad_record_leads_to_a_dead_letter_and_nothing_else(harness: BundleHarness) -> None:
    response = by_topic(harness.record(Topic.CLICKS, "s", b"{"))
    letter = response[Topic.DEAD_LETTERS]
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, str(letter.origin), letter.raw) == (Reason.UNDECODABLE, "clicks[0]@0", b"{")
    assert response.keys() == {Topic.DEAD_LETTERS}
    assert harness.state == {}


def test_without_consent_nothing_is_kept_and_nothing_known_is_used(harness: BundleHarness) -> None:
    send(harness, view(0))
    state = dict(harness.state)
    silent = msgspec.structs.replace(to_message(view(1)), consent=False)
    response = by_topic(harness.record(Topic.CLICKS, "s", encode(silent)))
    assert response.keys() == {Topic.RECOMMENDATIONS}
    assert response[Topic.RECOMMENDATIONS].fallback is Fallback.EMPTY_SESSION  # type: ignore[attr-defined]
    assert not response[Topic.RECOMMENDATIONS].consent  # type: ignore[attr-defined]
    assert harness.state == state


def test_probe_is_answered_on_topics_of_its_own(harness: BundleHarness) -> None:
    assert send(harness, view(0, shopper="probe-0"), Topic.PROBES).keys() == {Topic.PROBE_SLATES, Topic.PROBE_LOG}


def test_purchase_leaves_the_next_slates(harness: BundleHarness) -> None:
    before = send(harness, view(0))[Topic.RECOMMENDATIONS]
    assert isinstance(before, Recommendation)
    bought = before.slate[0].item_id
    purchase = Interaction("p", "s", "x", bought, Kind.PURCHASE, START_MS + 1_000, "tea", price=2.0)
    assert isinstance(to_message(purchase), Purchase)
    after = send(harness, purchase, Topic.PURCHASES)[Topic.RECOMMENDATIONS]
    assert isinstance(after, Recommendation)
    assert bought not in {item.item_id for item in after.slate}


def test_newest_policy_record_counts_and_an_older_one_that_comes_again_does_not(harness: BundleHarness) -> None:
    dear = Policy(version=2, author="test", weights={"relevance": 0.2, "revenue": 1.0})
    default = send(harness, view(0))[Topic.RECOMMENDATIONS]
    harness.broadcast(Topic.POLICIES, "global", encode(dear))
    turned = send(harness, view(1))[Topic.RECOMMENDATIONS]
    harness._offsets[Topic.POLICIES] = iter([0])  # as the broadcast does that begins anew
    harness.broadcast(Topic.POLICIES, "global", None)
    still = send(harness, view(2))[Topic.RECOMMENDATIONS]
    harness._offsets[Topic.POLICIES] = iter([1])
    harness.broadcast(Topic.POLICIES, "global", None)
    back = send(harness, view(3))[Topic.RECOMMENDATIONS]
    assert [slate.policy_version for slate in (default, turned, still, back)] == [1, 2, 2, 1]  # type: ignore[attr-defined]


def test_estimates_weigh_in_if_they_are_of_this_model(harness: BundleHarness) -> None:
    before = send(harness, view(0))[Topic.RECOMMENDATIONS]
    assert isinstance(before, Recommendation)
    first, last = before.slate[0], before.slate[-1]
    learnt = estimates(
        version=7,
        model_version="another",
        items={first.item_id: ItemEstimate(0.01, 0.01, 1.0), last.item_id: ItemEstimate(50.0, 0.1, 1.0)},
    )
    harness.broadcast(Topic.ESTIMATES, "outcomes", encode(learnt))
    unmoved = send(harness, view(1))[Topic.RECOMMENDATIONS]
    own = msgspec.structs.replace(learnt, model_version=before.model_version)
    harness.broadcast(Topic.ESTIMATES, "outcomes", encode(own))
    moved = send(harness, view(2))[Topic.RECOMMENDATIONS]
    assert isinstance(unmoved, Recommendation)
    assert isinstance(moved, Recommendation)
    assert [slate.estimates_version for slate in (before, unmoved, moved)] == [0, 0, 7]
    assert unmoved.slate[0].item_id == first.item_id
    assert moved.slate[0].item_id == last.item_id
    assert first.item_id not in {item.item_id for item in moved.slate}
    assert harness.gauges["estimates_version"] == 7


def test_bad_control_record_changes_nothing(harness: BundleHarness) -> None:
    harness.broadcast(Topic.POLICIES, "global", b'{"version": "two"}')
    slate = send(harness, view(0))[Topic.RECOMMENDATIONS]
    assert slate.policy_version == 1  # type: ignore[attr-defined]


def test_refused_control_record_becomes_a_dead_letter_once_and_what_stays_in_force_is_written_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop_now = ControlState(Catalogue(lasting_model(ARTIFACT).items), "model")
    monkeypatch.setattr(reject_control, "shared_control", lambda *_: nullcontext(shop_now))
    harness = KeyedHarness(RejectControl(RecommendConfig(JobConfig("nowhere:1", "group"), ARTIFACT)))
    good = Policy(version=2, author="test", weights={"revenue": 1.0})

    def send_control(raw: bytes | None, topic: Topic = Topic.POLICIES, key: str = "global") -> list[Outgoing]:
        return list(harness._function.process_element(harness._row(topic, key, raw), SimpleNamespace()))

    assert send_control(encode(good)) == []
    older = send_control(encode(msgspec.structs.replace(good, version=1)))
    assert [topic for topic, _, _ in older] == [Topic.DEAD_LETTERS, Topic.POLICIES]
    letter = msgspec.json.decode(older[0][2], type=DeadLetter)
    assert (letter.reason, str(letter.origin)) == (Reason.INVALID, "policies[0]@1")
    assert "version 1 is not newer than 2" in letter.error
    assert older[1] == (Topic.POLICIES, "global", encode(good))
    assert send_control(encode(good)) == []  # as it comes back from the topic
    for raw, words in (
        (b'{"version":3,"author":"a","weights":{"relevance":NaN}}', "malformed"),
        (b'{"version":3,"author":"a","exploration":{"temperature":-0.1}}', "temperature"),
        (b'{"version":3,"author":"a","weights":{"fame":1.0}}', "no objective is called fame"),
        (b'{"version":3,"author":"a","weights":{"relevance":0.0}}', "all weights are 0"),
    ):
        assert words in msgspec.json.decode(send_control(raw)[0][2], type=DeadLetter).error
    (of_item,) = send_control(b"{", Topic.ITEMS, "i1")
    assert of_item[0] == Topic.DEAD_LETTERS
    assert shop_now.table.policies == {"global": good}
    assert harness.counts == {"dead_letters_total{reason=invalid}": 4, "dead_letters_total{reason=undecodable}": 2}


def old_profile() -> FeatureRecord:
    return feature_record(views("s", *(START_MS - 100 + n for n in range(3))))


def test_first_interaction_of_a_shopper_asks_feast_and_the_answer_is_adopted_once(harness: BundleHarness) -> None:
    assert send(harness, view(0))[Topic.PROFILE_REQUESTS] == ProfileRequest(shopper_id="s")
    stored = StoredProfile(shopper_id="s", spec_version=SPEC_VERSION, profile_state=old_profile().profile_state)
    assert harness.record(Topic.PROFILES, "s", encode(stored)) == []
    assert harness.record(Topic.PROFILES, "s", encode(stored)) == []
    after = send(harness, view(1))
    assert Topic.PROFILE_REQUESTS not in after
    features = after[Topic.FEATURE_LOG]
    assert isinstance(features, FeatureRecord)
    assert (features.row.evidence_count, features.sequence, features.profile) == (5, 2, "profiles[0]@0")


def test_answer_that_feast_has_nothing_changes_no_feature(harness: BundleHarness) -> None:
    first = send(harness, view(0))[Topic.FEATURE_LOG]
    nothing = StoredProfile(shopper_id="s", spec_version=SPEC_VERSION, profile_state=b"")
    assert harness.record(Topic.PROFILES, "s", encode(nothing)) == []
    second = send(harness, view(1))[Topic.FEATURE_LOG]
    assert isinstance(first, FeatureRecord)
    assert isinstance(second, FeatureRecord)
    assert (first.profile, second.profile, second.row.evidence_count) == ("", "profiles[0]@0", 2)


def test_profile_of_a_shopper_who_is_forgotten_meanwhile_is_left_aside(harness: BundleHarness) -> None:
    stored = StoredProfile(shopper_id="s", spec_version=SPEC_VERSION, profile_state=old_profile().profile_state)
    assert harness.record(Topic.PROFILES, "s", encode(stored)) == []
    assert harness.state == {}


@pytest.mark.parametrize(
    ("spec_version", "state", "words"),
    [(1, b"old", "feature spec 1"), (SPEC_VERSION, b"nonsense", "Expected `array`|malformed|truncated|Invalid")],
)
def test_profile_that_cannot_be_used_becomes_a_dead_letter_and_is_not_waited_for(
    harness: BundleHarness, spec_version: int, state: bytes, words: str
) -> None:
    send(harness, view(0))
    stored = StoredProfile(shopper_id="s", spec_version=spec_version, profile_state=state)
    letter = by_topic(harness.record(Topic.PROFILES, "s", encode(stored)))[Topic.DEAD_LETTERS]
    assert isinstance(letter, DeadLetter)
    assert letter.reason is Reason.INVALID
    assert re.search(words, letter.error)
    features = send(harness, view(1))[Topic.FEATURE_LOG]
    assert isinstance(features, FeatureRecord)
    assert (features.row.evidence_count, features.profile) == (2, "profiles[0]@0")


def asked(request_id: str = "q", **fields: object) -> Request:
    now = now_ms()
    request = Request(request_id=request_id, shopper_id="s", session_id="x", surface="home", event_time_ms=now)
    return msgspec.structs.replace(request, **fields)


def feast_has(harness: BundleHarness, profile_state: bytes) -> dict[Topic, msgspec.Struct]:
    stored = StoredProfile(shopper_id="s", spec_version=SPEC_VERSION, profile_state=profile_state)
    return by_topic(harness.record(Topic.PROFILES, "s", encode(stored)))


def test_request_of_a_shopper_who_is_not_known_here_is_answered_with_what_feast_has(harness: BundleHarness) -> None:
    before = by_topic(harness.record(Topic.REQUESTS, "s", encode(asked())))
    assert before == {Topic.PROFILE_REQUESTS: ProfileRequest(shopper_id="s")}
    after = feast_has(harness, old_profile().profile_state)
    slate, log = after[Topic.RECOMMENDATIONS], after[Topic.REQUEST_LOG]
    assert isinstance(slate, Recommendation)
    assert isinstance(log, RequestRecord)
    assert (slate.request_id, slate.degraded, len(slate.slate)) == ("q", False, 20)
    assert (log.row.evidence_count, log.sequence, log.profile) == (3, 0, "profiles[0]@0")
    assert harness.state == {}, "a request changes nothing"
    assert harness.fire(now_ms() + DAY_MS) == []
    assert harness.counts["deferred_total"] == 1
    assert harness.counts["degraded_total"] == 0
    assert harness.counts["events_total{topic=requests}"] == 1


def test_popular_items_are_of_what_a_shopper_who_comes_back_was_interested_in(harness: BundleHarness) -> None:
    category_of = {item.item_id: item.category for item in shop.items()}
    shares = []
    for n, profile_state in enumerate((b"", old_profile().profile_state)):
        harness.record(Topic.REQUESTS, "s", encode(asked(f"q{n}")))
        slate = feast_has(harness, profile_state)[Topic.RECOMMENDATIONS]
        assert isinstance(slate, Recommendation)
        assert slate.fallback is Fallback.EMPTY_SESSION
        assert [item.score for item in slate.slate] == sorted([item.score for item in slate.slate], reverse=True)
        shares.append(sum(category_of[item.item_id] == "tea" for item in slate.slate))
    stranger, returning = shares
    assert stranger < 15 < returning


def test_where_feast_has_nothing_the_slate_is_a_strangers_and_not_degraded(harness: BundleHarness) -> None:
    harness.record(Topic.REQUESTS, "s", encode(asked()))
    slate = feast_has(harness, b"")[Topic.RECOMMENDATIONS]
    assert isinstance(slate, Recommendation)
    assert (slate.fallback, slate.degraded) == (Fallback.EMPTY_SESSION, False)


def test_request_waits_until_its_patience_ends_and_its_slate_says_so(harness: BundleHarness) -> None:
    harness.record(Topic.REQUESTS, "s", encode(asked("patient")))
    harness.record(Topic.REQUESTS, "s", encode(asked("hasty", deadline_time_ms=now_ms() + 200)))
    (of_patient, _), (of_hasty, _) = harness.waiting["s"]
    assert 0 < of_patient - now_ms() <= recommender.PATIENCE_MS
    assert of_hasty - now_ms() <= 100
    slates = [DECODE[Topic(topic)](raw) for topic, _, raw in harness.fire(of_patient) if topic == Topic.RECOMMENDATIONS]
    assert [(slate.request_id, slate.degraded) for slate in slates] == [("patient", True), ("hasty", True)]  # type: ignore[attr-defined]
    assert harness.counts["degraded_total"] == 2
    assert feast_has(harness, old_profile().profile_state) == {}


def test_who_clicks_meanwhile_is_known_and_nobody_s_request_waits_for_another_s(harness: BundleHarness) -> None:
    harness.record(Topic.REQUESTS, "s", encode(asked()))
    clicked = send(harness, view(0))
    assert Topic.PROFILE_REQUESTS in clicked
    at_once = by_topic(harness.record(Topic.REQUESTS, "s", encode(asked("q2"))))
    assert isinstance(slate := at_once[Topic.RECOMMENDATIONS], Recommendation)
    assert (slate.request_id, slate.degraded, slate.fallback) == ("q2", False, Fallback.NONE)
    after = feast_has(harness, old_profile().profile_state)
    assert isinstance(log := after[Topic.REQUEST_LOG], RequestRecord)
    assert (log.row.evidence_count, log.sequence) == (4, 1)


def test_request_that_has_waited_beyond_its_deadline_is_a_dead_letter(
    harness: BundleHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.record(Topic.REQUESTS, "s", encode(asked(deadline_time_ms=now_ms() + 1_000)))
    later = now_ms() + 2_000
    monkeypatch.setattr(recommender, "now_ms", lambda: later)
    letter = feast_has(harness, b"")[Topic.DEAD_LETTERS]
    assert isinstance(letter, DeadLetter)
    assert letter.reason is Reason.EXPIRED


def test_without_consent_nothing_is_asked_and_nothing_waited_for(harness: BundleHarness) -> None:
    answered = by_topic(harness.record(Topic.REQUESTS, "s", encode(asked(consent=False))))
    assert answered.keys() == {Topic.RECOMMENDATIONS}


def test_record_that_raises_takes_no_profile_from_a_request_of_its_bundle(
    harness: BundleHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.record(Topic.REQUESTS, "s", encode(asked()))
    by_hash = recommender.rec_id

    def rec_id(message: Click | Purchase | Request, surface: str) -> str:
        if message.shopper_id == "t":
            msg = "as it was told"
            raise ArithmeticError(msg)
        return by_hash(message, surface)

    monkeypatch.setattr(recommender, "rec_id", rec_id)
    stored = StoredProfile(shopper_id="s", spec_version=SPEC_VERSION, profile_state=old_profile().profile_state)
    other = harness.numbered(Topic.CLICKS, "t", encode(to_message(replace(view(0), shopper_id="t"))))
    after = harness.bundle([other, harness.numbered(Topic.PROFILES, "s", encode(stored))])
    assert [topic for topic, _, _ in after] == [Topic.DEAD_LETTERS, Topic.RECOMMENDATIONS, Topic.REQUEST_LOG]
    assert decode_request_record(after[-1][2]).row.evidence_count == 3


def test_everything_is_counted(harness: BundleHarness) -> None:
    for n, time_ms in enumerate((START_MS, START_MS - ALLOWED_LATENESS_MS, START_MS - ALLOWED_LATENESS_MS - 1)):
        send(harness, Interaction(f"e{n}", "s", "x", "i030", Kind.VIEW, time_ms, "tea"))
    send(harness, Interaction("e0", "s", "x", "i030", Kind.VIEW, START_MS, "tea"))
    bought = Interaction("e3", "t", "x", "nowhere", Kind.PURCHASE, START_MS, "tea")
    harness.record(Topic.PURCHASES, "t", encode(to_message(bought)))
    harness.record(Topic.CLICKS, "s", b"no json")
    harness.record(Topic.PROBES, "s", encode(to_message(view(9))))
    assert harness.counts == {
        "events_total{topic=clicks}": 5,
        "events_total{topic=purchases}": 1,
        "slates_total{fallback=none}": 4,
        "slates_total{fallback=empty_session}": 1,
        "late_total": 1,
        "places_total": 5 * 20,
        "repeats_total": 1,
        "dead_letters_total{reason=undecodable}": 1,
    }
    assert harness.gauges["policy_version"] == 1
    assert harness.gauges.keys() == {
        "policy_version",
        "estimates_version",
        "suspicious_prices",
        "model_on_gpu",
        "model_stepped_down",
        "bundle_size",
        "model_time_us",
        "weigh_time_us",
        "event_to_slate_ms",
        "answered_until_ms",
        "answer_time_us",
    }
    policy = Policy(version=7, author="test", weights={"revenue": 1.0})
    harness.broadcast(Topic.POLICIES, "global", encode(policy))
    assert harness.gauges["policy_version"] == 7


def test_event_from_the_future_becomes_a_dead_letter(harness: BundleHarness) -> None:
    year_ms = 365 * DAY_MS
    ahead = Interaction("e0", "s", "x", "i030", Kind.VIEW, now_ms() + year_ms, "tea")
    response = send(harness, ahead)
    letter = response[Topic.DEAD_LETTERS]
    assert isinstance(letter, DeadLetter)
    assert response.keys() == {Topic.DEAD_LETTERS}
    assert "ahead of the job's clock" in letter.error
    assert harness.state == {}


def test_record_at_which_anything_raises_is_a_dead_letter_and_changes_nothing(
    harness: BundleHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(harness, view(0))
    before = dict(harness.state)
    monkeypatch.setattr(recommender, "advance", lambda *_: 1 / 0)
    letter = by_topic(harness.record(Topic.CLICKS, "s", encode(to_message(view(1)))))[Topic.DEAD_LETTERS]
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.error) == (Reason.FAILED, "ZeroDivisionError: division by zero")
    assert letter.raw == encode(to_message(view(1)))
    assert harness.state == before
    monkeypatch.undo()
    assert Topic.RECOMMENDATIONS in send(harness, view(2))


def test_state_that_cannot_be_read_is_a_dead_letter_and_stays(harness: BundleHarness) -> None:
    send(harness, view(0))
    harness.state["s"] = b"of another version"
    letter = by_topic(harness.record(Topic.CLICKS, "s", encode(to_message(view(1)))))[Topic.DEAD_LETTERS]
    assert isinstance(letter, DeadLetter)
    assert letter.reason is Reason.FAILED
    assert harness.state["s"] == b"of another version"


def test_fault_of_the_system_is_no_dead_letter(harness: BundleHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(recommender, "advance", out_of_memory)
    with pytest.raises(MemoryError):
        send(harness, view(0))


def test_record_that_would_not_fit_the_broker_is_a_dead_letter(
    harness: BundleHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "RECORD_AT_MOST", 1_000)
    letter = by_topic(harness.record(Topic.CLICKS, "s", encode(to_message(view(0)))))[Topic.DEAD_LETTERS]
    assert isinstance(letter, DeadLetter)
    assert "a broker takes 1000" in letter.error
    assert harness.state == {}


def test_ids_of_events_are_a_shoppers_own_and_lines_of_an_order_may_share_one(harness: BundleHarness) -> None:
    lines = [
        Interaction("order-1", shopper, "x", item, Kind.PURCHASE, START_MS, "tea", price=2.0)
        for shopper in ("s", "t")
        for item in ("i030", "i031")
    ]
    answers = [send(harness, line, Topic.PURCHASES) for line in lines]
    ids = {answer[Topic.RECOMMENDATIONS].rec_id for answer in answers}  # type: ignore[attr-defined]
    assert len(ids) == len(lines)
    assert [answer[Topic.FEATURE_LOG].row.purchase_count for answer in answers] == [1, 2, 1, 2]  # type: ignore[attr-defined]
    again = send(harness, lines[0], Topic.PURCHASES)
    assert again.keys() == {Topic.RECOMMENDATIONS}
