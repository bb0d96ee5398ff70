"""All policies that are in force, made ready for the slates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.policy.experiment import is_treated
from streaming.policy.expression import Expression, Fields
from streaming.policy.objectives import GIVEN, KINDS
from streaming.policy.rules import CompiledRule, compiled, is_on
from streaming.policy.surfaces import DEFAULTS, UNTIL_GLOBAL
from streaming.schemas import DEFAULT_POLICY, GLOBAL, Measure, Policy, ScopeKind, scope_of, split_scope

Floats = NDArray[np.float64]

KEPT_AT_LEAST = 0.01  # of an operator's weight, however far a controller turns it down: something must order the items
TURNED = {Measure.CLICKS: "relevance", Measure.PURCHASES: "conversion", Measure.REVENUE: "revenue"}


class Numbered(Protocol):
    """Names that have numbers."""

    @property
    def number_of(self) -> Mapping[str, int]: ...

    @property
    def changes(self) -> int:
        """Return how often a number has got another name."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class ScoringPlan:
    """How the items of a slate are scored: one row of weights for the slate's policy, one for each merchant's."""

    policy: Policy
    names: tuple[str, ...]  # of the objectives that weigh anything
    kinds: NDArray[np.int64]  # (O,) of the objectives, as `streaming.policy.kernels` knows them
    weights: Floats  # (1 + merchants, O)
    merchants: dict[str, int]  # which have a row of their own, and which
    boosts: Floats | None  # (1 + merchants,) what an item gets for its merchant's exposure; None for none
    pacing: Floats | None  # (1 + merchants,) by what a merchant's bids are divided; None where no spend is held
    expressions: dict[str, tuple[Expression, float]]  # of those of `names` that are an operator's, with their scales
    rules: tuple[CompiledRule, ...]  # of merchandising

    @cached_property
    def has_given(self) -> bool:
        """Whether one of the objectives is not computed from the candidates, but given with them."""
        return GIVEN in self.kinds

    def rows(self, merchants: Numbered) -> NDArray[np.int64]:
        """Return (M,) the row of `weights` of each of M merchants by its number."""
        changes, rows = self._rows[0]
        if changes != merchants.changes:
            changes, rows = merchants.changes, np.zeros(len(merchants), dtype=np.int64)
            for merchant, row in self.merchants.items():
                number = merchants.number_of.get(merchant)
                if number is not None and number < len(rows):
                    rows[number] = row
            self._rows[0] = changes, rows
        return rows

    _rows: list[tuple[int, NDArray[np.int64]]] = field(
        default_factory=lambda: [(-1, np.zeros(0, dtype=np.int64))], init=False
    )


class PolicyTable:
    """The policies by scope. Never changed: a turn makes a new table."""

    def __init__(self, policies: dict[str, Policy] | None = None) -> None:
        self.policies = {GLOBAL: DEFAULT_POLICY} | (policies or {})
        self.version = max(record.version for record in self.policies.values() if not is_controller(record.scope))
        of_kind: dict[ScopeKind, dict[str, Policy]] = {kind: {} for kind in ScopeKind}
        for scope, policy in sorted(self.policies.items()):
            kind, name = split_scope(scope)
            of_kind[kind][name] = policy
        self._experiments = [
            (name, policy.share, policy)
            for name, policy in of_kind[ScopeKind.EXPERIMENT].items()
            if policy.share is not None
        ]
        self._segments = [
            (Expression(policy.when), policy)
            for policy in of_kind[ScopeKind.SEGMENT].values()
            if policy.when is not None
        ]
        self._merchants = of_kind[ScopeKind.MERCHANT]
        defaults = DEFAULTS | (UNTIL_GLOBAL if self.policies[GLOBAL] is DEFAULT_POLICY else {})
        surfaces = defaults | of_kind[ScopeKind.SURFACE]
        others = (ScopeKind.GLOBAL, ScopeKind.EXPERIMENT, ScopeKind.SEGMENT)
        in_use = [*surfaces.values(), *[policy for kind in others for policy in of_kind[kind].values()]]
        self._plans = {policy.scope: self._plan(policy) for policy in in_use}

    @cached_property
    def surfaces(self) -> frozenset[str]:
        """Names of the surfaces that have a policy of their own."""
        scopes = map(split_scope, self.policies)
        return frozenset(name for kind, name in scopes if kind is ScopeKind.SURFACE)

    @cached_property
    def asks_session(self) -> bool:
        """Whether anything in the table is an expression, which may read fields of the session."""
        return bool(self._segments) or any(
            plan.expressions or any(rule.where is not None for rule in plan.rules) for plan in self._plans.values()
        )

    @cached_property
    def has_rules(self) -> bool:
        """Whether merchandising has decided anything of any slate."""
        return any(plan.rules for plan in self._plans.values())

    @cached_property
    def caps(self) -> tuple[CompiledRule, ...]:
        """The rules that say how often an item may be seen, of all policies."""
        return tuple(
            rule for plan in self._plans.values() for rule in plan.rules if rule.rule.frequency_cap is not None
        )

    @cached_property
    def looks_kept_ms(self) -> int:
        """For how long one of them counts a look; 0 without any."""
        return max((cap.counted_ms for cap in self.caps), default=0)

    def put(self, policy: Policy) -> "PolicyTable":
        return PolicyTable(self.policies | {policy.scope: policy})

    def remove(self, scope: str) -> "PolicyTable":
        """Return the table without the scope's policy; the global one becomes the default."""
        return PolicyTable({name: record for name, record in self.policies.items() if name != scope})

    def shadowed(self, scope: str) -> Policy:
        """Return what weighs the slates of `scope` as long as it has no policy: of its surface, or the global one."""
        plan = self._plans.get(scope)
        return (plan or self._plans[GLOBAL]).policy

    def ahead_of(self, scope: str) -> list[str]:
        """Return the scopes whose policies count in place of that of `scope`, wherever they apply."""
        kind, _ = split_scope(scope)
        if kind is ScopeKind.MERCHANT:  # its items have its weights whatever the slate's policy is
            return []
        order = (ScopeKind.EXPERIMENT, ScopeKind.SEGMENT, ScopeKind.SURFACE, ScopeKind.GLOBAL)
        ahead = order[: order.index(kind)]
        own = (ScopeKind.EXPERIMENT, ScopeKind.SEGMENT)
        return [
            other
            for other in sorted(self.policies)
            if (its := split_scope(other)[0]) in ahead or (its is kind and kind in own and other < scope)
        ]

    def written(self, scope: str) -> Policy | None:
        """Return the scope's policy if somebody wrote it; None for the default one, and for none."""
        policy = self.policies.get(scope)
        return None if policy is DEFAULT_POLICY else policy

    def of(self, surface: str, session: Fields, shopper_id: str, time_ms: int = 0) -> ScoringPlan:
        """Return what a slate is scored by: the most specific policy that applies; of several the first by name.

        A surface without a policy has that of `streaming.policy.surfaces`, if there is one, before the global.
        A shopper without an id, who has not consented, is in no experiment. One that begins or ends does so by
        `time_ms`, the time of the event that the slate answers.
        """
        for name, share, policy in self._experiments:
            if shopper_id and _is_on(policy, time_ms) and is_treated(name, shopper_id, share):
                return self._plans[policy.scope]
        for condition, policy in self._segments:
            if _is_on(policy, time_ms) and condition({}, session) > 0:
                return self._plans[policy.scope]
        plan = self._plans.get(scope_of(ScopeKind.SURFACE, surface))
        return self._plans[GLOBAL] if plan is None else plan

    def _plan(self, policy: Policy) -> ScoringPlan:
        duals = self._duals(policy)
        own, boosts, pacing = dict(policy.weights), dict[str, float](), dict[str, float]()
        for name, dual in duals.items():
            constraint = policy.constraints[name]
            if constraint.measure is Measure.SPEND and constraint.merchant is not None:
                pacing[constraint.merchant] = max(pacing.get(constraint.merchant, 1.0), 1.0 - dual)
            elif constraint.merchant is not None:
                boosts[constraint.merchant] = boosts.get(constraint.merchant, 0.0) + dual
            else:
                objective = TURNED[constraint.measure]
                before = own.get(objective, 0.0)
                own[objective] = max(before + dual, KEPT_AT_LEAST * before)
        of_their_own = sorted(self._merchants.keys() | boosts.keys() | pacing.keys())
        merchants = {name: row for row, name in enumerate(of_their_own, start=1)}
        rows = [own, *[self._merchants[name].weights if name in self._merchants else own for name in merchants]]
        names = tuple(sorted({name for row in rows for name, weight in row.items() if weight > 0}))
        return ScoringPlan(
            policy=policy,
            names=names,
            kinds=np.array([KINDS.get(name, GIVEN) for name in names], dtype=np.int64),
            weights=np.array([[row.get(name, 0.0) for name in names] for row in rows]),
            merchants=merchants,
            boosts=np.array([0.0, *[boosts.get(name, 0.0) for name in merchants]]) if any(boosts.values()) else None,
            pacing=np.array([1.0, *[pacing.get(name, 1.0) for name in merchants]]) if pacing else None,
            expressions={
                name: (Expression(of.expression), of.scale) for name, of in policy.objectives.items() if name in names
            },
            rules=compiled(policy.rules),
        )

    def _duals(self, policy: Policy) -> dict[str, float]:
        """Return what is added for the constraints that the policy still has."""
        controller = self.policies.get(scope_of(ScopeKind.CONTROLLER, policy.scope))
        duals = {} if controller is None else controller.duals
        return {name: duals[name] for name in policy.constraints if duals.get(name)}


def _is_on(policy: Policy, time_ms: int) -> bool:
    return is_on(policy.starts_time_ms, policy.ends_time_ms, time_ms)


def is_controller(scope: str) -> bool:
    return split_scope(scope)[0] is ScopeKind.CONTROLLER
