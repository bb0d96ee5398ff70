"""How an experiment stands: what its shoppers brought, beside all others."""

from collections.abc import Iterator

import msgspec

from features.errors import PolicyError
from streaming.config import Cluster
from streaming.control.policies import read_items
from streaming.io.topics import read_topic
from streaming.offline.arms import arms
from streaming.policy.experiment import Comparison, compare
from streaming.policy.off_policy import Interval
from streaming.policy.table import PolicyTable
from streaming.records import decode_any
from streaming.schemas import Outcome, ScopeKind, Topic, scope_of, split_scope

NOT_CLEAR = "not clear yet"


class Difference(msgspec.Struct, frozen=True):
    """Of one reward."""

    control: float  # of a slate; NaN without shoppers
    treated: float
    difference: Interval  # treated less control; infinite before there are enough shoppers
    verdict: str  # better, worse, or not clear yet


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment as it stands."""

    experiment: str
    share: float  # of the shoppers who are to have its policy
    since_ms: int  # of its policy, epoch
    window_s: float  # from a shopper's first slate, in which it counts
    confidence: float  # that all intervals, whenever they are asked for, hold the true difference
    treated: int  # shoppers
    control: int
    suspicious_prices: int  # places sold at a price that no other comes near, whose revenue does not count
    rewards: dict[str, Difference]


def standing(name: str, cluster: Cluster, table: PolicyTable, window_s: float, confidence: float) -> Standing:
    """Return how the experiment stands. It reads the topic of the outcomes as a whole, which takes its time.

    Args:
        name: of the policy `experiment:NAME`.
        cluster: of the topics.
        table: what is in force.
        window_s: from a shopper's first slate, in which it counts.
        confidence: of all intervals, whenever asked, in (0, 1).

    Raises:
        PolicyError: no policy is an experiment of this name.
        TopicError: a topic is not there.
        KafkaException: the broker is not there.
    """
    scope = scope_of(ScopeKind.EXPERIMENT, name)
    policy = table.policies.get(scope)
    if policy is None or policy.share is None:
        others = [other for kind, other in map(split_scope, table.policies) if kind is ScopeKind.EXPERIMENT]
        msg = (
            f"no policy has the scope {scope}; experiments in force: {', '.join(others) or 'none'}. Begin "
            f"one with `rheostat policy set --scope {scope} --share 0.5 --weight …`"
        )
        raise PolicyError(msg)
    margins = {item.item_id: item.margin for item in read_items(cluster)}

    def margin_of(item_id: str) -> float:
        margin = margins.get(item_id)
        return 1.0 if margin is None else margin

    since_ms = policy.time_ms or 0
    of_rewards, suspicious = arms(_outcomes(cluster), name, policy.share, since_ms, round(window_s * 1000), margin_of)
    treated = next(iter(of_rewards.values())).treated
    return Standing(
        experiment=name,
        share=policy.share,
        since_ms=since_ms,
        window_s=window_s,
        confidence=confidence,
        treated=int(treated.sum()),
        control=int((~treated).sum()),
        suspicious_prices=suspicious,
        rewards={reward.value: _judged(compare(of, confidence)) for reward, of in of_rewards.items()},
    )


def _judged(compared: Comparison) -> Difference:
    low, high = compared.difference.low, compared.difference.high
    verdict = "better" if low > 0 else "worse" if high < 0 else NOT_CLEAR
    return Difference(*compared, verdict)


def _outcomes(cluster: Cluster) -> Iterator[Outcome]:
    for origin, _, raw in read_topic(cluster, Topic.OUTCOMES):
        message = decode_any(raw or b"", origin)
        if isinstance(message, Outcome):
            yield message
