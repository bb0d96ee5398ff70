"""Whether a policy can be used. The command line asks before it writes one, the job before it takes one over."""

from collections.abc import Container

from streaming.policy.draw import TEMPERATURE_AT_LEAST
from streaming.policy.expression import Expression, ExpressionError
from streaming.policy.objectives import BUILT_IN
from streaming.schemas import Exploration, Policy


def refusal(policy: Policy, in_force: int, merchants: Container[str]) -> str | None:
    """Return why `policy` is refused, in words; None if it can be used.

    Args:
        policy: what is asked for, decoded already.
        in_force: the highest version that is in force.
        merchants: whose items the shop sells.
    """
    kind, _, name = policy.scope.partition(":")
    known = {*BUILT_IN, *policy.objectives}
    temperature = policy.exploration.temperature
    if policy.version <= in_force:
        return f"version {policy.version} is not newer than {in_force}, which is in force; read it and turn it anew"
    if unknown := sorted(policy.weights.keys() - known):
        return f"no objective is called {', '.join(unknown)}; there are {', '.join(sorted(known))}"
    if not sum(policy.weights.values()) > 0:
        return "all weights are 0, which orders nothing; give one of them another value"
    if taken := sorted(policy.objectives.keys() & set(BUILT_IN)):
        return f"the objective {taken[0]} is there already; give yours another name"
    if 0 < temperature < TEMPERATURE_AT_LEAST:
        return f"exploration.temperature is {temperature}; expected 0, or from {TEMPERATURE_AT_LEAST} on"
    if kind == "merchant" and name not in merchants:
        return f"no item on sale has the merchant {name!r}"
    if kind == "merchant" and (policy.diversity or policy.objectives or policy.exploration != Exploration()):
        return "a merchant's policy has weights alone: diversity, exploration and own objectives are of a slate"
    if (kind == "segment") != (policy.when is not None):
        return f"{policy.scope}: `when` is what makes a segment, and is expected there and nowhere else"
    try:
        for objective in policy.objectives.values():
            Expression(objective.expression)
        if policy.when is not None and Expression(policy.when).item_fields:
            return f"when: `{policy.when}` asks for an item; a segment is told by fields of the session"
    except ExpressionError as error:
        return str(error)
    return None
