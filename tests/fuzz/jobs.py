"""The three jobs, the log sink and the console on one thread: each record goes to all that read its topic."""

import time
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import msgspec
from fuzz.edges import Edges
from pyflink.common import Row
from support.harness import BundleHarness, KeyedHarness

from features.sources.simulator import shop
from streaming.config import FeaturesConfig, JobConfig, LearnConfig, RecommendConfig
from streaming.control import state
from streaming.io.feed import to_item
from streaming.offline.sink import LOGS, Rows
from streaming.operators import recommend, reject_control
from streaming.operators.access_online_store import AccessOnlineStore
from streaming.operators.attribute import Attribute
from streaming.operators.learn import Learn
from streaming.operators.pair_lines import PairLines
from streaming.operators.recommend import Recommend
from streaming.operators.reject_control import RejectControl
from streaming.operators.tally_orders import TallyOrders
from streaming.records import RECORD_AT_MOST, TOMBSTONE, Record, decode, encode
from streaming.schemas import (
    COMPACTED,
    CONTROL,
    FOR_CONTROLLERS,
    FOR_FEAST,
    FOR_LEARNING,
    SHOPPERS,
    DeadLetter,
    FeatureRecord,
    Origin,
    Outgoing,
    Reason,
    Recommendation,
    StoredProfile,
    Topic,
)
from streaming.scoring.model import lasting_model
from streaming.testing import control_state

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
_LETTER = msgspec.json.Decoder(DeadLetter)


class Jobs:
    """What is sent is read by whoever reads its topic, and what is answered is sent in turn.

    Args:
        repo: of Feast.
    """

    def __init__(self, repo: Path) -> None:
        model = lasting_model(ARTIFACT)
        goods = shop.items()[:60]
        self.edges = Edges([item.item_id for item in goods[:12]], model.manifest.model_version)
        self.letters: Counter[Reason] = Counter()
        self.failed: list[DeadLetter] = []  # the letters of records at which anything raised
        self.cpu_ms: dict[str, float] = defaultdict(float)  # the most that a record took, by operator
        self._offsets: Counter[str] = Counter()
        control = control_state(model, goods)
        job = JobConfig("nowhere:1", "group")
        with (
            patch.object(recommend, "shared_control", lambda *_: nullcontext(control)),
            patch.object(reject_control, "shared_control", lambda *_: nullcontext(control)),
            patch.object(state, "read_compacted", lambda *_: iter(())),
        ):
            self.recommend = BundleHarness(Recommend(RecommendConfig(job, ARTIFACT)))
            self.reject = KeyedHarness(RejectControl(RecommendConfig(job, ARTIFACT)))
            self.attribute = KeyedHarness(Attribute())
            self.learn = KeyedHarness(Learn(LearnConfig(job)))
            self.pair, self.tally = KeyedHarness(PairLines()), KeyedHarness(TallyOrders(1_000))
            self.write = KeyedHarness(AccessOnlineStore(FeaturesConfig(job, repo, store_patience_s=1.0)))
        self.rows = {log.folder: Rows(log) for log in LOGS}
        for item in goods:
            self.send(Topic.ITEMS, item.item_id, encode(to_item(item)))

    def send(self, topic: Topic, key: str, raw: bytes | None) -> None:
        """Send a record, and what it leads to, and what that leads to."""
        queue = [(topic, key, raw)]
        for _ in range(200):
            if not queue:
                return
            topic, key, raw = queue.pop(0)
            queue += [(Topic(to), of, value or None) for to, of, value in self._answers(topic, key, raw)]
        msg = f"records lead to more and more of them: {queue[0]}"
        raise AssertionError(msg)

    def _answers(self, topic: Topic, key: str, raw: bytes | None) -> list[Outgoing]:
        origin = Origin(topic.value, 0, self._offsets[topic])
        self._offsets[topic] += 1
        record = Row(topic.value, 0, origin.offset, key, raw)
        batch = Row(topic.value, 0, [origin.offset], [key], [raw])
        answers = list[Outgoing]()
        if topic in CONTROL:
            self._timed("control", lambda: self.recommend.control([Record(key, raw, origin)]))
            answers += self._process("control", self.reject, key, Row(key, record))
        if topic in SHOPPERS:
            answers += self._timed("recommend", lambda: self.recommend.bundle([Record(key, raw, origin)]))
        if topic in FOR_LEARNING:
            answers += self._process("attribute", self.attribute, key, record)
        if topic in (*FOR_CONTROLLERS, Topic.OUTCOMES) and raw is not None:
            answers += self._process("learn", self.learn, topic.value, batch)
        if topic == Topic.PURCHASES:
            for _, item_id, bought in self._process("pair lines", self.pair, key, record):
                of_item = Row(Topic.COMPLEMENTS.value, 0, 0, item_id, bought)
                answers += self._process("tally orders", self.tally, item_id, of_item)
            answers += self._timed("tally orders", self.tally.fire)
        if topic in (*FOR_FEAST, Topic.PROFILE_REQUESTS):
            answers += self._process("features", self.write, topic.value, batch)
        for log in LOGS:
            if log.topic == topic:
                self.rows[log.folder].add(key, raw, 1_700_000_000_000, origin)
                if len(self.rows[log.folder]) >= 50:
                    self.rows[log.folder].frame()
        for answer in answers:
            self._check(*answer)
        return [answer for answer in answers if answer[0] != Topic.DEAD_LETTERS]

    def _process(self, name: str, harness: KeyedHarness, key: str, element: Row) -> list[Outgoing]:
        harness.key = key
        return self._timed(name, lambda: harness._function.process_element(element, harness.context()))

    def _timed(self, name: str, act: Callable[[], Iterable[Outgoing] | None]) -> list[Outgoing]:
        began = time.thread_time_ns()
        emitted = list(act() or ())
        self.cpu_ms[name] = max(self.cpu_ms[name], (time.thread_time_ns() - began) / 1e6)
        return emitted

    def _check(self, topic: str, key: str, value: bytes) -> None:
        assert len(key) + len(value) <= RECORD_AT_MOST, (topic, len(value))
        if topic == Topic.DEAD_LETTERS:
            letter = _LETTER.decode(value)
            self.letters[letter.reason] += 1
            if letter.reason is Reason.FAILED:
                self.failed.append(letter)
            return
        if value == TOMBSTONE:
            assert topic in COMPACTED, topic
            return
        name = {Topic.PROBE_SLATES: Topic.RECOMMENDATIONS, Topic.PROBE_LOG: Topic.FEATURE_LOG}.get(Topic(topic), topic)
        message = decode(key, value, Origin(name, 0, 0))
        assert not isinstance(message, DeadLetter), (topic, message)
        assert message is not None
        if isinstance(message, Recommendation):
            self.edges.slates = [*self.edges.slates[-7:], message]
        elif isinstance(message, StoredProfile | FeatureRecord):
            self.edges.profiles = ["", *self.edges.profiles[-7:], b64encode(message.profile_state).decode()]
