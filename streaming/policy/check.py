"""Whether a policy can be used. Who writes one asks first; the job, before it takes one over."""

from collections.abc import Container

from features.errors import ExpressionError
from streaming.policy.draw import TEMPERATURE_AT_LEAST
from streaming.policy.expression import Expression
from streaming.policy.objectives import NAMES
from streaming.policy.table import PolicyTable
from streaming.schemas import Constraint, Exploration, Measure, Policy, Rule, ScopeKind, Sponsorship, split_scope

RULE_NAME_AT_MOST = 100  # characters


class _Anyone:
    """Every merchant, for those who read what was checked against the shop when it was written."""

    def __contains__(self, name: object) -> bool:
        return True


ANYONE = _Anyone()


def apply_policy(table: PolicyTable, scope: str, policy: Policy | None) -> PolicyTable | str:
    """Return the table after the newest record of a scope, None for a tombstone; or why the record is refused.

    What is refused depends on the policy and on the one before it in its scope, and on nothing else: so whoever reads
    what compaction has left comes to the same table as who has read all of it.
    """
    if policy is None:
        return table.remove(scope)
    before = table.policies.get(scope)
    if policy == before:  # as it comes back from the topic
        return table
    return validate(policy, 0 if before is None else before.version, ANYONE) or table.put(policy)


def validate(policy: Policy, in_force: int, merchants: Container[str]) -> str | None:
    """Return why `policy` is refused, in words; None if it can be used.

    Args:
        policy: what is asked for, decoded already.
        in_force: the highest version that is in force.
        merchants: whose items the shop sells.
    """
    kind, name = split_scope(policy.scope)
    known = {*NAMES, *policy.objectives}
    temperature = policy.exploration.temperature
    if policy.version <= in_force:
        return f"version {policy.version} is not newer than {in_force}, which is in force; read it and turn it anew"
    if kind is ScopeKind.CONTROLLER:
        return None
    if unknown := sorted(policy.weights.keys() - known):
        return f"no objective is called {', '.join(unknown)}; there are {', '.join(sorted(known))}"
    if not sum(policy.weights.values()) > 0:
        return "all weights are 0, which orders nothing; give one of them another value"
    if taken := sorted(policy.objectives.keys() & set(NAMES)):
        return f"the objective {taken[0]} is there already; give yours another name"
    if 0 < temperature < TEMPERATURE_AT_LEAST:
        return f"exploration.temperature is {temperature}; expected 0, or from {TEMPERATURE_AT_LEAST} on"
    if kind is ScopeKind.MERCHANT and name not in merchants:
        return f"no item on sale has the merchant {name!r}"
    of_slate = (
        *(policy.diversity, policy.satiation.weight, policy.objectives, policy.exploration != Exploration()),
        *(policy.sponsored != Sponsorship(), policy.rules),
    )
    if kind is ScopeKind.MERCHANT and any(of_slate):
        return "a merchant's policy has weights alone; all else but constraints is of a slate"
    if (kind is ScopeKind.SEGMENT) != (policy.when is not None):
        return f"{policy.scope}: `when` is what makes a segment, and is expected there and nowhere else"
    if (kind is ScopeKind.EXPERIMENT) != (policy.share is not None):
        return (
            f"{policy.scope}: `share` is how many shoppers an experiment is for, and is expected there and nowhere else"
        )
    begins_or_ends = policy.starts_time_ms is not None or policy.ends_time_ms is not None
    if begins_or_ends and kind not in (ScopeKind.SEGMENT, ScopeKind.EXPERIMENT):
        return (
            f"{policy.scope}: only a segment or an experiment has a start and an end, or a rule; a segment with `when: "
            "\"session.surface == 'home'\"` stands in for that surface's policy in its time"
        )
    if why := _backwards(policy.starts_time_ms, policy.ends_time_ms):
        return why
    for name, rule in policy.rules.items():
        if why := _unusable(name, rule):
            return f"rules.{name}: {why}"
    if policy.constraints and kind not in (ScopeKind.GLOBAL, ScopeKind.SURFACE):
        return f"{policy.scope}: constraints are held for a surface or for all slates"
    for constraint, what in policy.constraints.items():
        if why := _unholdable(what, merchants):
            return f"constraints.{constraint}: {why}"
    least = [
        constraint.at_least or 0.0
        for constraint in policy.constraints.values()
        if constraint.measure is Measure.EXPOSURE
    ]
    if sum(least) > 1:
        return f"the exposures that are asked for at least are {sum(least):g} of all together, which is more than 1"
    if policy.duals:
        return "`duals` are a controller's"
    try:
        for objective in policy.objectives.values():
            Expression(objective.expression)
        for rule in policy.rules.values():
            if rule.where is not None and Expression(rule.where).session_fields and rule.frequency_cap is not None:
                return (
                    f"where: `{rule.where}` asks for the session; what is seen is counted by item alone, so "
                    "`frequency_cap` goes with fields of an item. A segment's policy can have the rule"
                )
        if policy.when is not None and Expression(policy.when).item_fields:
            return f"when: `{policy.when}` asks for an item; a segment is told by fields of the session"
    except ExpressionError as error:
        return str(error)
    return None


def _unusable(name: str, rule: Rule) -> str | None:
    if len(name) > RULE_NAME_AT_MOST:
        return f"a name of {len(name)} characters; at most {RULE_NAME_AT_MOST}, it is part of what slates say"
    if not rule.items and rule.where is None:
        return "expected `items`, `where`, or both: which items is it about?"
    if not rule.hide and rule.pin is None and not rule.boost and rule.frequency_cap is None:
        return "it does nothing; expected `hide`, `pin`, `boost` or `frequency_cap`"
    if rule.hide and (rule.pin is not None or rule.boost):
        return "what is hidden can be neither pinned nor boosted"
    if rule.hide and rule.frequency_cap is not None:
        return "what is hidden is never seen; leave `hide` or `frequency_cap` out"
    return _backwards(rule.starts_time_ms, rule.ends_time_ms)


def _backwards(starts_ms: int | None, ends_ms: int | None) -> str | None:
    if starts_ms is not None and ends_ms is not None and ends_ms <= starts_ms:
        return f"it ends ({ends_ms}) before it starts ({starts_ms})"
    return None


def _unholdable(constraint: Constraint, merchants: Container[str]) -> str | None:
    low, high = constraint.at_least, constraint.at_most
    if low is None and high is None:
        return "expected at_least, at_most, or both"
    if low is not None and high is not None and low > high:
        return f"at_least {low:g} is more than at_most {high:g}"
    if (constraint.measure in (Measure.EXPOSURE, Measure.SPEND)) != (constraint.merchant is not None):
        return "a merchant is what an exposure or a spend is about, and is expected there and nowhere else"
    if constraint.measure is Measure.SPEND and low is not None:
        return "a spend can be held below at_most, and not above at_least: nobody makes a merchant bid"
    if constraint.merchant is not None and constraint.merchant not in merchants:
        return f"no item on sale has the merchant {constraint.merchant!r}"
    if constraint.measure is Measure.EXPOSURE and max(low or 0.0, high or 0.0) > 1:
        return "an exposure is a share, in [0, 1]"
    return None
