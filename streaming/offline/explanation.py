"""Why an item stands where it does, from what the topics hold of its slate."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from features.errors import ExplanationError
from streaming.config import Cluster
from streaming.control.policies import read, read_items
from streaming.io.topics import read_topic
from streaming.records import decode_features, decode_request_record
from streaming.schemas import ClickInfluence, Fallback, Policy, ReasonCode, Recommendation, Topic
from streaming.scoring.explain import Traced, session_of, trace
from streaming.scoring.model import SessionModel

REASONS = {
    ReasonCode.RELEVANT: "it fits what was clicked in this session",
    ReasonCode.LIKELY_TO_BE_BOUGHT: "it is likely to be bought",
    ReasonCode.EARNS: "of what may be bought it earns most",
    ReasonCode.NEW_TO_SHOPPER: "it is little known and new to the shopper",
    ReasonCode.POPULAR: "it is popular; the model knows nothing of the session",
    ReasonCode.MATCHES: "it matches what was asked for",
    ReasonCode.BOUGHT_TOGETHER: "it is bought with what is in the cart or on the page",
    ReasonCode.SPONSORED: "it is paid for",
    ReasonCode.EXPOSURE: "its merchant is to be shown more",
    ReasonCode.OPERATOR: "an objective of the operator's speaks for it",
    ReasonCode.EXPLORED: "it was tried, to learn what becomes of it",
    ReasonCode.PINNED: "a rule of merchandising gives it its place",
    ReasonCode.BOOSTED: "a rule of merchandising speaks for it",
    ReasonCode.OTHER: "for a reason of a newer version",
}
LITTLE = 0.01  # P(clicked | looked at) below which nobody would say that it fits what was clicked
_FITS_LITTLE = "it fits what was clicked, though little, and nothing else speaks more for it"
_NEXT_TO_NOTHING = 5e-5
_SLATE = msgspec.json.Decoder(Recommendation)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a slate, what its score is made of, and the clicks that the model found it by."""

    rec_id: str
    shopper_id: str
    event_time_ms: int  # of the slate
    place: int
    item_id: str
    says: list[str]  # all of it in sentences
    names: dict[str, str]  # of the item, of the clicked and of the capped ones that the shop still has
    reason: str
    score: float
    parts: dict[str, float]
    propensity: float
    explored: bool
    rule: str | None  # that has pinned it
    capped: dict[str, str]  # items that were seen too often for this slate, by the rule that says so
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
    names = _names(cluster, {item.item_id, *[click.item_id for click in traced.clicks], *slate.capped})
    in_force = [
        policy
        for policy in read(cluster).written
        if policy.scope == slate.policy_scope and policy.version <= slate.policy_version
    ]
    explained = Explanation(
        says=[],
        names=names,
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
        rule=item.rule,
        capped=slate.capped,
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
    return msgspec.structs.replace(explained, says=in_words(explained))


def in_words(explained: Explanation) -> list[str]:
    """Return what an explanation says, in sentences."""
    item = named(explained.item_id, explained.names)
    because = why(ReasonCode(explained.reason), explained.predicted) + of_rule(explained.rule)
    says = [f"{item} stands at place {explained.place} of the slate for {explained.shopper_id}: {because}."]
    says.append(f"Its score there is {sum_in_words(explained.score, explained.parts)}.")
    by = "the default policy"
    if explained.policy is not None:
        by = f"{explained.policy.author}'s policy of version {explained.policy.version}"
    exploring = ""
    if explained.exploration_rate:
        exploring = f"places explore with chance {percent(explained.exploration_rate)}, and "
    says.append(
        f"It was weighed by {by} ({explained.policy_scope}); {exploring}it had the chance {explained.propensity:.3g} "
        "of its place, given those before it."
    )
    if explained.clicks:
        most = explained.clicks[0]
        without = percent(explained.predicted - most.change)
        says.append(
            f"The model expects a click with {percent(explained.predicted)} where it is looked at; without the click "
            f"on {named(most.item_id, explained.names)} it is {without}."
        )
    elif explained.known_to_model is False:
        says.append("The model does not know it: it stands for the candidate it is most like, and no click is named.")
    elif explained.fallback != Fallback.NONE:
        says.append(f"No click mattered: the model was not asked ({explained.fallback}).")
    if explained.capped:
        left_out = ", ".join(
            f"{named(item_id, explained.names)} (`{rule}`)" for item_id, rule in explained.capped.items()
        )
        says.append(f"Seen too often by {explained.shopper_id} to be in this slate: {left_out}.")
    return says


def why(reason: ReasonCode, predicted: float) -> str:
    """Return why an item has its place, in words; `predicted` is P(clicked | looked at)."""
    return _FITS_LITTLE if reason is ReasonCode.RELEVANT and predicted < LITTLE else REASONS[reason]


def sum_in_words(score: float, parts: Mapping[str, float]) -> str:
    """Return a score and the parts that it is the sum of, without those that are none."""
    words = {name: f"{part:+z.3f}" for name, part in parts.items()}
    moving = [f"{name} {part}" for name, part in words.items() if float(part)]
    return f"{score:+z.3f}" + (f": {', '.join(moving)}" if moving else "")


def of_rule(rule: str | None) -> str:
    """Return the name of the rule that pins an item, for behind a reason."""
    return "" if rule is None else f" (`{rule}`)"


def named(item_id: str, names: Mapping[str, str]) -> str:
    """Return an item's name with its id, or the id where the shop has it no longer."""
    return f"{names[item_id]} ({item_id})" if item_id in names else item_id


def percent(chance: float) -> str:
    """Return a chance in words, never as 0 where it is not."""
    if abs(chance) < _NEXT_TO_NOTHING:
        return "next to 0 %"
    return f"{100 * chance:.2g} %" if abs(chance) < 0.0995 else f"{chance:.0%}".replace("%", " %")


def _names(cluster: Cluster, item_ids: set[str]) -> dict[str, str]:
    return {item.item_id: item.name for item in read_items(cluster) if item.item_id in item_ids}


def _find(cluster: Cluster, topic: str, rec_id: str, decode: Callable[[bytes], Any]) -> Any:
    """Return the first record of a slate; one that was made again after a recovery comes later."""
    name = rec_id.encode()
    for _, _, raw in read_topic(cluster, topic):
        if raw is not None and name in raw:
            record = decode(raw)
            if record.rec_id == rec_id:
                return record
    return None
