"""From outcomes to what the next slates are weighed by: estimates, and the weights that constraints turn. Pure."""

from collections.abc import Iterable

import msgspec

from streaming.policy.controllers import Controller
from streaming.policy.estimate_parts import due, part_name, parts_of
from streaming.policy.estimates import FactsOf, OutcomeEstimator
from streaming.policy.table import PolicyTable
from streaming.schemas import Estimates, Outcome, Policy, ScopeKind, scope_of

AUTHOR = "learn"
MODELS_AT_MOST = 4  # of which outcomes are remembered: those that have been served last


class LearningState(msgspec.Struct):
    """All that is remembered. Changed in place; what is kept of it is msgpack."""

    learner: OutcomeEstimator | None = None  # of an older version of this state, which knew one model
    controllers: dict[str, Controller] = {}  # by the scope that they turn
    learners: dict[str, OutcomeEstimator] = {}  # by model version
    parts: dict[str, int] = {}  # of a model's estimates, by its version
    forgotten: list[str] = []  # names of parts of which nothing is known any more

    def __post_init__(self) -> None:
        if self.learner is not None:
            self.learners[self.learner.model_version] = self.learner
            self.learner = None

    def learn(
        self, outcomes: Iterable[Outcome], table: PolicyTable, facts_of: FactsOf
    ) -> tuple[list[Estimates], list[Policy]]:
        """Return what is known after `outcomes`, of each model that they are of, and the controllers' changed records.

        Two versions of a model that take turns each go on with what is known of them.
        """
        constrained = {scope: record for scope, record in table.policies.items() if record.constraints}
        self.controllers = {scope: self.controllers.get(scope, Controller()) for scope in constrained}
        changed = dict[str, OutcomeEstimator]()
        for outcome in outcomes:
            learner = self._learner(outcome.model_version)
            changed[outcome.model_version] = learner
            learner.take([outcome], facts_of)
            policy = constrained.get(outcome.policy_scope)
            if policy is not None:
                self.controllers[policy.scope].take(outcome, policy.constraints, learner, facts_of)
        estimates = [learner.estimates(facts_of) for version, learner in changed.items() if version in self.learners]
        return estimates, [
            record for policy in constrained.values() if (record := self._turn(policy, table)) is not None
        ]

    def violations(self, table: PolicyTable) -> dict[tuple[str, str], float | None]:
        """Return by how much of its bound each constraint is off, by scope and name; None: nothing is measured yet."""
        return {
            (scope, name): controller.violation(name, constraint)
            for scope, controller in self.controllers.items()
            for name, constraint in table.policies[scope].constraints.items()
        }

    def written_in(self, estimates: Estimates) -> list[Estimates]:
        """Return the parts of estimates that are written now; a state that is kept remembers how many there are."""
        model_version = estimates.model_version
        before = self.parts.get(model_version, 1)
        parts = parts_of(estimates, before)
        self.parts[model_version] = len(parts)
        return parts if len(parts) > before else [parts[part] for part in due(len(parts), estimates.version)]

    def take_forgotten(self) -> list[str]:
        """Return the names of parts that are to be removed from the topic, each once."""
        names, self.forgotten = self.forgotten, []
        return names

    @property
    def newest_ms(self) -> int:
        """Time of the newest outcome; 0 before any."""
        return max([learner.newest_ms for learner in self.learners.values()], default=0)

    def _learner(self, model_version: str) -> OutcomeEstimator:
        if model_version not in self.learners:
            self.learners[model_version] = OutcomeEstimator(model_version=model_version)
            while len(self.learners) > MODELS_AT_MOST:
                others = [version for version in self.learners if version != model_version]
                oldest = min(others, key=lambda version: self.learners[version].newest_ms)
                del self.learners[oldest]
                self.forgotten += [part_name(oldest, part) for part in range(self.parts.pop(oldest, 0))]
        return self.learners[model_version]

    def _turn(self, policy: Policy, table: PolicyTable) -> Policy | None:
        controller, scope = self.controllers[policy.scope], scope_of(ScopeKind.CONTROLLER, policy.scope)
        now_ms = self.newest_ms
        duals = controller.turn(policy.constraints, now_ms)
        if duals == controller.duals:
            return None
        controller.duals = duals
        written = table.written(scope)
        controller.version = max(controller.version, 0 if written is None else written.version) + 1
        return Policy(scope=scope, version=controller.version, author=AUTHOR, time_ms=now_ms, duals=duals)
