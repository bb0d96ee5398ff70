"""Why an item stands where it does, from what the topics hold of its slate."""

from collections.abc import Callable
from typing import Any

import msgspec

from features.errors import ExplanationError
from streaming.config import Cluster
from streaming.control.policies import read
from streaming.io.topics import read_topic
from streaming.records import decode_features, decode_request_record
from streaming.schemas import ClickInfluence, Fallback, Policy, Recommendation, Topic
from streaming.scoring.explain import Traced, session_of, trace
from streaming.scoring.model import SessionModel

_SLATE = msgspec.json.Decoder(Recommendation)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a slate, what its score is made of, and the clicks that the model found it by."""

    rec_id: str
    shopper_id: str
    event_time_ms: int  # of the slate
    place: int
    item_id: str
    reason: str
    score: float
    parts: dict[str, float]
    propensity: float
    explored: bool
    bid: float | None  # what its sponsor pays for a click
    exploration_rate: float
    uncertainty: float
    policy_version: int
    policy_scope: str
    policy: Policy | None  # None: the default one
    fallback: str
    predicted: float
    known_to_model: bool | None  # None: it was not asked
    clicks: list[ClickInfluence]


def explanation(rec_id: str, place: int, cluster: Cluster, model: Callable[[], SessionModel]) -> Explanation:
    """Return why an item stands at `place`, from 1, of a slate. It reads topics as a whole, which takes its time.

    Args:
        rec_id: of the slate.
        place: of the item.
        cluster: of the topics.
        model: called where the slate was made by one.

    Raises:
        ExplanationError: there is no such slate or place, or the model is another one.
        KafkaException: the broker is not there.
    """
    slate = _find(cluster, Topic.RECOMMENDATIONS, rec_id, _SLATE.decode)
    if slate is None:
        msg = f"no slate on the topic `{Topic.RECOMMENDATIONS}` has the rec_id {rec_id}"
        raise ExplanationError(msg)
    if not 1 <= place <= len(slate.slate):
        msg = f"place {place}: the slate has {len(slate.slate)} items"
        raise ExplanationError(msg)
    clicked: list[str] | None = None  # that the model was asked with
    if slate.request_id is not None:
        asked = _find(cluster, Topic.REQUEST_LOG, rec_id, decode_request_record)
        clicked = [*asked.clicked] if asked else None
    else:
        features = _find(cluster, Topic.FEATURE_LOG, rec_id, decode_features)
        clicked = session_of(features.row) if features else None
    item = slate.slate[place - 1]
    traced, known_to_model = Traced(item.predicted, list[ClickInfluence]()), None
    if clicked is not None and slate.fallback is Fallback.NONE:
        loaded = model()
        if loaded.manifest.model_version != slate.model_version:
            msg = (
                f"the slate is of model {slate.model_version}, loaded is {loaded.manifest.model_version}; "
                "name the folder of the slate's with --model"
            )
            raise ExplanationError(msg)
        known_to_model = item.item_id in loaded.index_of
        if known_to_model:
            (traced,) = trace([item.item_id], clicked, loaded, len(clicked))
    in_force = [
        policy
        for policy in read(cluster).written
        if policy.scope == slate.policy_scope and policy.version <= slate.policy_version
    ]
    return Explanation(
        rec_id=rec_id,
        shopper_id=slate.shopper_id,
        event_time_ms=slate.event_time_ms,
        place=place,
        item_id=item.item_id,
        reason=item.reason.value,
        score=item.score,
        parts=item.parts,
        propensity=item.propensity,
        explored=item.reason == "explored",
        bid=item.bid,
        exploration_rate=slate.exploration_rate,
        uncertainty=slate.uncertainty,
        policy_version=slate.policy_version,
        policy_scope=slate.policy_scope,
        policy=in_force[-1] if in_force else None,
        fallback=slate.fallback.value,
        predicted=traced.predicted,
        known_to_model=known_to_model,
        clicks=traced.clicks,
    )


def _find(cluster: Cluster, topic: str, rec_id: str, decode: Callable[[bytes], Any]) -> Any:
    """Return the first record of a slate; one that was made again after a recovery comes later."""
    name = rec_id.encode()
    for _, _, raw in read_topic(cluster, topic):
        if raw is not None and name in raw:
            record = decode(raw)
            if record.rec_id == rec_id:
                return record
    return None
