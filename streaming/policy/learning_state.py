"""From outcomes to what the next slates are weighed by: estimates, and the weights that constraints turn. Pure."""

from collections.abc import Iterable

import msgspec

from streaming.policy.controllers import Controller
from streaming.policy.estimates import FactsOf, OutcomeEstimator
from streaming.policy.table import PolicyTable
from streaming.schemas import Estimates, Outcome, Policy, ScopeKind, scope_of

AUTHOR = "learn"


class LearningState(msgspec.Struct):
    """All that is remembered. Changed in place; what is kept of it is msgpack."""

    learner: OutcomeEstimator = msgspec.field(default_factory=OutcomeEstimator)
    controllers: dict[str, Controller] = {}  # by the scope that they turn

    def learn(
        self, outcomes: Iterable[Outcome], table: PolicyTable, facts_of: FactsOf
    ) -> tuple[Estimates, list[Policy]]:
        """Return what is known after `outcomes`, and the controllers' records that have changed by it."""
        constrained = {scope: record for scope, record in table.policies.items() if record.constraints}
        self.controllers = {scope: self.controllers.get(scope, Controller()) for scope in constrained}
        for outcome in outcomes:
            self.learner.take([outcome], facts_of)
            policy = constrained.get(outcome.policy_scope)
            if policy is not None:
                self.controllers[policy.scope].take(outcome, policy.constraints, self.learner, facts_of)
        estimates = self.learner.estimates(facts_of)
        return estimates, [
            record for policy in constrained.values() if (record := self._turn(policy, table)) is not None
        ]

    def _turn(self, policy: Policy, table: PolicyTable) -> Policy | None:
        controller, scope = self.controllers[policy.scope], scope_of(ScopeKind.CONTROLLER, policy.scope)
        now_ms = self.learner.newest_ms
        duals = controller.turn(policy.constraints, now_ms)
        if duals == controller.duals:
            return None
        controller.duals = duals
        written = table.written(scope)
        controller.version = max(controller.version, 0 if written is None else written.version) + 1
        return Policy(scope=scope, version=controller.version, author=AUTHOR, time_ms=now_ms, duals=duals)
