"""What the console answers, from what it knows."""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from features.errors import PolicyError, UnknownItemError
from streaming.control import policies
from streaming.control.policies import Turned
from streaming.offline.explanation import of_rule, percent, sum_in_words, why
from streaming.offline.standing import Standing, standing
from streaming.policy import fields as fields_of
from streaming.policy.difference import differences
from streaming.policy.objectives import NAMES
from streaming.policy.surfaces import SURFACES
from streaming.policy.table import PolicyTable, is_controller
from streaming.schemas import Policy, ScopeKind, SlateItem, scope_of, split_scope
from streaming.scoring.slate import Slate
from streaming.web.figures import EVERY_SURFACE
from streaming.web.follow import Follower, Shown
from streaming.web.terms import FALLBACKS, LABELS, OTHERS, OWN, WEIGHTS

HISTORY_AT_MOST = 200
SHOPPERS_AT_MOST = 20
ITEMS_AT_MOST = 20
SESSION_AT_MOST = 10


class ConstraintState(NamedTuple):
    """How a constraint stands, as the job `learn` has it."""

    scope: str
    name: str
    violated_percent: float | None  # of its bound; 0: it is held; None: nothing is measured yet


def terms() -> dict[str, Any]:
    """Return the words of the page."""
    return {"weights": WEIGHTS, "others": OTHERS, "own": OWN, "reasons": LABELS, "fallbacks": FALLBACKS}


def state(follower: Follower) -> dict[str, Any]:
    """Return what is in force, and whether the console still hears of it."""
    turned = follower.turned
    return {
        "version": turned.table.version,
        "scopes": [scope(name, turned.table) for name in turned.table.policies if not is_controller(name)],
        "surfaces": sorted({*SURFACES, *turned.table.surfaces, *follower.surfaces()}),
        "slates_per_second": follower.figures(60, EVERY_SURFACE).slates_per_second,
        "began_s": follower.began_s,
        "error": follower.error,
    }


def scope(name: str, table: PolicyTable) -> dict[str, Any]:
    """Return a scope's policy, or the one that it would begin with, and what counts instead of it.

    Raises:
        PolicyError: it is no scope.
    """
    if reason := fields_of.refusal({"scope": name}):
        raise PolicyError(reason)
    current = table.policies.get(name)
    whole = msgspec.to_builtins(Policy(version=1, author="-"))
    fields = whole | (policies.begun(name, table) if current is None else msgspec.to_builtins(current))
    written = table.written(name)
    kind, surface = split_scope(name)
    return {
        "scope": name,
        "policy": {field: value for field, value in fields.items() if field not in fields_of.NOT_WRITTEN},
        "objectives": [*NAMES, *fields["objectives"]],
        "based_on": 0 if written is None else written.version,
        "author": None if written is None else written.author,
        "time_ms": None if written is None else written.time_ms,
        "note": "" if written is None else written.note,
        "begins_with": table.shadowed(name).scope if current is None else None,
        "instead": table.ahead_of(name),
        "is_known": kind is not ScopeKind.SURFACE or surface in SURFACES | table.surfaces,
    }


def shoppers(follower: Follower, search: str) -> dict[str, Any]:
    """Return who has a slate, newest first: by the id, the surface, or the names of what was looked at."""
    words = search.casefold().split()
    slates = follower.slates()

    def matches(shown: Shown) -> bool:
        names = " ".join(item["name"] for item in _session(follower, shown))
        text = f"{shown.slate.shopper_id} {shown.slate.surface} {names}".casefold()
        return all(word in text for word in words)

    matching = [shown for shown in slates if matches(shown)] if words else slates
    found = [
        {
            "shopper_id": shown.slate.shopper_id,
            "surface": shown.slate.surface,
            "session": [item["name"] for item in _session(follower, shown)],
        }
        for shown in matching[:SHOPPERS_AT_MOST]
    ]
    return {"shoppers": found, "matching": len(matching), "of": len(slates)}


def items(follower: Follower, search: str) -> list[dict[str, Any]]:
    """Return up to ITEMS_AT_MOST items on sale by their id, or the words of their name, category or brand."""
    words, catalogue = search.casefold().split(), follower.catalogue
    if not words:
        return []

    def matches(item_id: str) -> bool:
        item = catalogue.item(item_id)
        if item is None:
            return False
        text = f"{item_id} {item.name} {item.category} {item.brand or ''}".casefold()
        return all(word in text for word in words)

    exact = [search.strip()] if search.strip() in catalogue.index_of else []
    others = (item_id for item_id in list(catalogue.index_of) if item_id not in exact and matches(item_id))
    return [_words(follower, item_id) for item_id in islice((*exact, *islice(others, ITEMS_AT_MOST)), ITEMS_AT_MOST)]


def not_on_sale(follower: Follower, policy: Policy) -> list[str]:
    """Return the items that rules name and the shop does not have."""
    named = dict.fromkeys(item_id for rule in policy.rules.values() for item_id in rule.items)
    return [item_id for item_id in named if follower.catalogue.item(item_id) is None]


def slate(follower: Follower, shown: Shown, drawn: Slate) -> dict[str, Any]:
    """Return a slate as it is drawn now, beside as it was sent."""
    sent = shown.slate
    return {
        "rec_id": sent.rec_id,
        "shopper_id": sent.shopper_id,
        "surface": sent.surface,
        "event_time_ms": sent.event_time_ms,
        "fallback": (drawn if sent.slate and not drawn.items else sent).fallback.value,  # rules may hide all of it
        "uncertainty": sent.uncertainty,
        "policy_version": drawn.policy_version,
        "policy_scope": drawn.policy_scope,
        "session": _session(follower, shown),
        "sent": [item.item_id for item in sent.slate],
        "items": [_item(follower, item) for item in drawn.items],
        "capped": [{"item": _words(follower, item_id), "rule": rule} for item_id, rule in drawn.capped.items()],
    }


def effect(follower: Follower, policy: Policy, at_most: int) -> dict[str, Any]:
    """Return what a draft does to the newest slates of all shoppers: which change, and what their items are then."""
    before_table = follower.turned.table
    after_table = before_table.put(policy)
    before, after = _Basket(), _Basket()
    changes: dict[str, str] | None = None
    count = weighed = changed = replaced = places = 0
    for shown in follower.slates()[:at_most]:
        try:
            now, then = follower.drawn(shown, before_table), follower.drawn(shown, after_table)
        except UnknownItemError:  # its candidates are no longer those of the shop
            continue
        count += 1
        weighed += then.policy_scope == policy.scope
        ids, others = [item.item_id for item in now.items], [item.item_id for item in then.items]
        if ids != others:
            changed += 1
            changes = changes or {"shopper_id": shown.slate.shopper_id, "surface": shown.slate.surface}
        replaced += len(set(ids) - set(others))
        places += len(ids)
        before.add(follower, now.items)
        after.add(follower, then.items)
    return {
        "slates": count,
        "weighed": weighed,  # by the draft's scope
        "changed": changed,
        "changes": changes,  # the newest one that does
        "replaced": replaced / places if places else 0.0,  # share of the items
        "before": before.means(),
        "after": after.means(),
    }


def constraints(table: PolicyTable, states: Callable[[], list[ConstraintState]]) -> list[dict[str, Any]]:
    """Return the constraints of all policies, and how they stand.

    Raises:
        OSError: the metrics of the job `learn` cannot be read.
    """
    of = {
        (name, policy.scope): constraint
        for policy in table.policies.values()
        for name, constraint in policy.constraints.items()
    }
    if not of:
        return []
    problem, stand = "", dict[tuple[str, str], float | None]()
    try:
        stand = {(state.name, state.scope): state.violated_percent for state in states()}
    except OSError as error:
        problem = str(error)
    answer = []
    for (name, scope_name), constraint in of.items():
        controller = table.policies.get(scope_of(ScopeKind.CONTROLLER, scope_name))
        answer.append(
            msgspec.to_builtins(constraint)
            | {
                "scope": scope_name,
                "name": name,
                "violated_percent": stand.get((name, scope_name)),
                "problem": problem,
                "added": 0.0 if controller is None else controller.duals.get(name, 0.0),
            }
        )
    return answer


def experiment(name: str, follower: Follower, window_s: float) -> Standing:
    """Return how an experiment stands, as `rheostat experiment` has it.

    Raises:
        PolicyError: no policy is an experiment of this name.
    """
    return standing(name, follower.cluster, follower.turned.table, window_s, 0.95)


def history(turned: Turned) -> list[dict[str, Any]]:
    """Return the turns that the topic still has, newest first, each with what it changed in its scope."""
    previous: dict[str, Policy | None] = {}
    turns = []
    for turn in turned.turns:
        policy = turn if isinstance(turn, Policy) else None
        turns.append(
            {
                "scope": turn.scope,
                "version": turn.version if isinstance(turn, Policy) else turn.taken_back,
                "is_taken_back": policy is None,
                "author": turn.author or "somebody who has not said it",
                "time_ms": turn.time_ms,
                "note": turn.note,
                "is_controller": is_controller(turn.scope),
                "is_in_force": policy is not None and turned.table.policies.get(turn.scope) == policy,
                "differences": [] if policy is None else differences(previous.get(turn.scope), policy),
            }
        )
        previous[turn.scope] = policy
    return turns[: -HISTORY_AT_MOST - 1 : -1]


class _Basket:
    """Sums over the items of slates."""

    def __init__(self) -> None:
        self.items, self.clicked, self.price, self.priced, self.margin = 0, 0.0, 0.0, 0, 0.0

    def add(self, follower: Follower, items: tuple[SlateItem, ...]) -> None:
        for item in items:
            self.items += 1
            self.clicked += item.predicted
            known = follower.catalogue.item(item.item_id)
            if known is not None and known.price is not None:
                self.priced += 1
                self.price += known.price
                self.margin += known.price * (1.0 if known.margin is None else known.margin)

    def means(self) -> dict[str, float | None]:
        priced = self.priced or None
        return {
            "predicted": self.clicked / self.items if self.items else None,
            "price": priced and self.price / priced,
            "margin": priced and self.margin / priced,
        }


def _item(follower: Follower, item: SlateItem) -> dict[str, Any]:
    because = why(item.reason, item.predicted)
    says = [
        f"{because[0].upper()}{because[1:]}{of_rule(item.rule)}.",
        f"Its score is {sum_in_words(item.score, item.parts)}.",
        f"The model expects a click with {percent(item.predicted)} where it is looked at; its chance of this place, "
        f"given those before it, was {percent(item.propensity)}.",
    ]
    if item.bid is not None:
        says.append(f"Its sponsor pays {item.bid:g} for a click.")
    label = LABELS[item.reason]
    fields: dict[str, Any] = msgspec.to_builtins(item)
    return _words(follower, item.item_id) | fields | {"label": label, "says": says}


def _session(follower: Follower, shown: Shown) -> list[dict[str, Any]]:
    return [_words(follower, item_id) for item_id in shown.source.clicked[-SESSION_AT_MOST:]]


def _words(follower: Follower, item_id: str) -> dict[str, Any]:
    item = follower.catalogue.item(item_id)
    if item is None:
        return {"item_id": item_id, "name": item_id, "category": "", "price": None}
    return {"item_id": item_id, "name": item.name, "category": item.category, "price": item.price}
