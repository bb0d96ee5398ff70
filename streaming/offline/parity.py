"""Makes every logged feature row again from the raw topics, by the pure functions alone, and compares to the bit.

That the rows a model is trained on are the rows it was asked with is a promise that can be checked: the log says of
each row which record led to it, which interaction of the shopper it was, how much of the catalogue was known, and
which profile had been adopted.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from features import shopper
from features.row import FeatureRow, columns
from features.shopper import ShopperState
from streaming.config import Cluster
from streaming.control.catalogue import Catalogue
from streaming.io.topics import read_topic
from streaming.records import decode
from streaming.schemas import (
    Click,
    DeadLetter,
    FeatureRecord,
    Item,
    Origin,
    Purchase,
    Request,
    RequestRecord,
    StoredProfile,
    Topic,
)
from streaming.scoring.advance import Advanced, advance, at_request
from streaming.scoring.answers import clicked_at_request, clicked_items, known_session
from streaming.scoring.model import SessionModel
from streaming.scoring.recommender import adopt

REPLAY_DEPTH = 512  # states kept of a shopper: a recovery goes back by no more than a checkpoint's interactions
_STATE_ENCODER = msgspec.msgpack.Encoder()
_STATE_DECODER = msgspec.msgpack.Decoder(ShopperState)
_LETTER = msgspec.json.Decoder(DeadLetter)
_ENCODER = msgspec.json.Encoder()

Raw = dict[tuple[str, int, int], tuple[bytes, bytes | None]]  # topic, partition and offset -> key and value


@dataclass
class Report:
    """What was found. A row is equal, different, or cannot be made again because its history is not on the topics."""

    equal: int = 0
    requests_equal: int = 0  # rows of requests
    different: int = 0
    without_history: int = 0
    vectors_equal: int = 0
    vectors_different: int = 0  # floating point on another processor; not counted as a difference
    vectors_of_another_model: int = 0  # not compared
    missing: int = 0  # interactions and requests without a row
    undecodable: int = 0  # records of the log that are none
    first_difference: str | None = None
    first_missing: str | None = None

    @property
    def is_parity(self) -> bool:
        return self.equal + self.requests_equal > 0 and not self.different and not self.missing

    def differs(self, what: str) -> None:
        self.different += 1
        self.first_difference = self.first_difference or what


@dataclass
class _Replay:
    """By what the log is made again, and what it has come to: states by shopper and sequence, and what has a row."""

    raw: Raw
    catalogue: Catalogue
    model: SessionModel
    states: dict[str, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    logged: set[tuple[str, str, str]] = field(default_factory=set)  # shopper, event id, item
    requests: set[tuple[str, int, int]] = field(default_factory=set)  # where those lie that have a row
    read_to: dict[tuple[str, int], int] = field(default_factory=dict)  # of a raw partition

    def read(self, origin: Origin) -> None:
        """Note that there is a row of the record at `origin`."""
        partition = origin.topic, origin.partition
        self.read_to[partition] = max(self.read_to.get(partition, -1), origin.offset)


def check(
    cluster: Cluster,
    model: Path,
    from_ms: int = 0,
    to_ms: int = 1 << 62,
    progress: Callable[[str, int], None] = lambda what, count: None,
) -> Report:
    """Compare the rows of interactions and requests from `from_ms` to before `to_ms`, event time, with what they ought
    to be.

    All raw records and the log are held in memory, some 5 KB an interaction.

    Args:
        cluster: of the topics.
        model: folder of the artifact that the job ran with.
        from_ms: of the rows that are compared; what came before is replayed all the same.
        to_ms: of the rows that are compared.
        progress: called with what is done and how many of it.
    """
    raw: Raw = {}
    for topic in (Topic.CLICKS, Topic.PURCHASES, Topic.REQUESTS, Topic.PROFILES):
        for origin, key, value in read_topic(cluster, topic):
            raw[_place(origin)] = key, value
        progress(f"read {topic}", len(raw))
    items = list(read_topic(cluster, Topic.ITEMS))
    dead = {_place(_LETTER.decode(value or b"").origin) for _, _, value in read_topic(cluster, Topic.DEAD_LETTERS)}
    report, session_model = Report(), SessionModel(model)
    replay, unread = _Replay(raw, Catalogue(session_model.items), session_model), iter([*items, None])
    log: list[tuple[int, Origin, str, bytes | None]] = []  # undecoded: a decoded record takes three times as much
    for topic in (Topic.FEATURE_LOG, Topic.REQUEST_LOG):
        for origin, key, value in read_topic(cluster, topic):
            shopper_id = key.decode(errors="replace")
            record = decode(shopper_id, value, origin)
            if isinstance(record, FeatureRecord | RequestRecord):
                log.append((record.items_offset, origin, shopper_id, value))
            else:
                report.undecodable += 1
        progress(f"read {topic}", len(log))
    # A process knows more and more items, so that this leaves the records of a shopper in their order, and a request
    # behind the interaction that it came after.
    log.sort(key=lambda entry: entry[0])
    ahead = next(unread)
    for n, (items_offset, origin, shopper_id, value) in enumerate(log, start=1):
        while ahead is not None and ahead[0].offset <= items_offset:
            _put(replay.catalogue, *ahead)
            ahead = next(unread)
        record = decode(shopper_id, value, origin)
        if isinstance(record, RequestRecord):
            compared = from_ms <= record.request.event_time_ms < to_ms
            _replay_request(origin, record, replay, report if compared else Report())
        else:
            assert isinstance(record, FeatureRecord), "it was one when it was read"
            compared = from_ms <= record.interaction_time_ms < to_ms
            _replay(origin, record, replay, report if compared else Report())
        if n % 1_000 == 0 or n == len(log):
            progress("rows made again", n)
    _find_missing({where: record for where, record in raw.items() if where not in dead}, replay, from_ms, to_ms, report)
    return report


def _place(origin: Origin) -> tuple[str, int, int]:
    return origin.topic, origin.partition, origin.offset


def _put(catalogue: Catalogue, origin: Origin, key: bytes, value: bytes | None) -> None:
    item_id = key.decode(errors="replace")
    item = decode(item_id, value, origin)
    catalogue.put(item_id, item if isinstance(item, Item) else None, origin.offset)


def _replay(origin: Origin, record: FeatureRecord, replay: _Replay, report: Report) -> None:
    shopper_id = record.row.shopper_id
    where = f"{origin} (shopper {shopper_id}, interaction {record.sequence}, event {record.event_id})"
    replay.logged.add((shopper_id, record.event_id, record.item_id))
    replay.read(record.origin)
    states = replay.states[shopper_id]
    before = shopper.new() if record.sequence == 1 else None
    if record.sequence - 1 in states:
        before = _STATE_DECODER.decode(states[record.sequence - 1])
    interaction = replay.raw.get(_place(record.origin))
    if before is None or interaction is None:
        report.without_history += 1
        return
    before = _with_profile(before, record.profile, replay.raw)
    if before is None:
        report.without_history += 1
        return
    message = decode(interaction[0].decode(errors="replace"), interaction[1], record.origin)
    if not isinstance(message, Click | Purchase):
        report.differs(f"{where}: the record at {record.origin} is no interaction: {message}")
        return
    advanced = advance(before, message, replay.catalogue)
    states[advanced.state.sequence] = _STATE_ENCODER.encode(advanced.state)
    states.pop(advanced.state.sequence - REPLAY_DEPTH, None)
    difference = _difference(record, advanced)
    if difference:
        report.differs(f"{where}: {difference}")
        return
    report.equal += 1
    _compare_vector(record, clicked_items(advanced.shopper_view.session), replay.model, report)


def _replay_request(origin: Origin, record: RequestRecord, replay: _Replay, report: Report) -> None:
    shopper_id, request = record.row.shopper_id, record.request
    where = f"{origin} (shopper {shopper_id}, after {record.sequence} interactions, request {request.request_id})"
    replay.requests.add(_place(record.origin))
    replay.read(record.origin)
    encoded = replay.states[shopper_id].get(record.sequence)
    state = shopper.new() if record.sequence == 0 else None if encoded is None else _STATE_DECODER.decode(encoded)
    state = None if state is None else _with_profile(state, record.profile, replay.raw)
    if state is None:
        report.without_history += 1
        return
    shopper_view, row, _ = at_request(state, request, replay.catalogue)
    clicked = clicked_at_request(shopper_view.session, request)
    difference = _row_difference(record.row, row)
    if not difference and list(record.clicked) != clicked:
        difference = f"clicked is {record.clicked!r} in the log and {clicked!r} made again"
    if difference:
        report.differs(f"{where}: {difference}")
        return
    report.requests_equal += 1
    _compare_vector(record, clicked, replay.model, report)


def _with_profile(state: ShopperState, profile: str, raw: Raw) -> ShopperState | None:
    """Return the state once it has adopted a profile; None where that is no longer on its topic."""
    if profile == state.adopted:
        return state
    stored = _profile(profile, raw)
    return None if stored is None else adopt(state, *stored)[0]


def _compare_vector(
    record: FeatureRecord | RequestRecord, clicked: Sequence[str], model: SessionModel, report: Report
) -> None:
    if record.model_version != model.manifest.model_version:
        report.vectors_of_another_model += 1
        return
    session = known_session(clicked, model)
    vector = model.next_items(session).vector.astype("<f4").tobytes() if session else b""
    if vector == record.session_vector:
        report.vectors_equal += 1
    else:
        report.vectors_different += 1


def _difference(record: FeatureRecord, advanced: Advanced) -> str | None:
    """Return in which column the logged row differs from the one that is made again, None if it does in none."""
    if advanced.is_repeat:
        return "the interaction had counted before, so there should be no row"
    return _row_difference(record.row, advanced.row)


def _row_difference(row: FeatureRow, row_again: FeatureRow) -> str | None:
    if _ENCODER.encode(row_again) == _ENCODER.encode(row):
        return None
    logged, again = columns(row), columns(row_again)
    name = next((name for name in logged if logged[name] != again[name]), "shopper_id")
    return f"{name} is {logged.get(name)!r} in the log and {again.get(name)!r} made again"


def _profile(name: str, raw: Raw) -> tuple[StoredProfile, Origin] | None:
    """Return the profile at an origin that is given in words."""
    topic, _, rest = name.partition("[")
    partition, _, offset = rest.partition("]@")
    if not offset or (topic, int(partition), int(offset)) not in raw:
        return None
    origin = Origin(topic, int(partition), int(offset))
    key, value = raw[_place(origin)]
    message = decode(key.decode(errors="replace"), value, origin)
    return (message, origin) if isinstance(message, StoredProfile) else None


def _find_missing(raw: Raw, replay: _Replay, from_ms: int, to_ms: int, report: Report) -> None:
    """Count what lies before one that has a row, has consent, and has neither row nor dead letter."""
    for (topic, partition, offset), (key, value) in raw.items():
        if offset > replay.read_to.get((topic, partition), -1):
            continue
        message = decode(key.decode(errors="replace"), value, Origin(topic, partition, offset))
        if not isinstance(message, Click | Purchase | Request) or not message.consent:
            continue
        if isinstance(message, Request):
            name, is_logged = f"request {message.request_id}", (topic, partition, offset) in replay.requests
        else:
            event = message.shopper_id, message.event_id, message.item_id
            name, is_logged = f"event {message.event_id}", event in replay.logged
        if not is_logged and from_ms <= message.event_time_ms < to_ms:
            report.missing += 1
            report.first_missing = report.first_missing or f"{topic}[{partition}]@{offset} ({name})"
