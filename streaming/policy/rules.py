"""What merchandising has decided of some items: hidden, pinned to a place, scored higher or lower. Pure.

A rule is about the items that it lists, about those of which its condition holds, or about those of both. Of what a
slate may hold, `K` candidates, the hidden ones are never picked; a boost is a part of the score beside the objectives;
a pin gives its place to the best of its items, before that place is for sale or drawn.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.policy.expression import Expression, Fields
from streaming.schemas import Rule

Truths = NDArray[np.bool_]
Floats = NDArray[np.float64]
BOOST = "boost:"  # before a rule's name: the part of a score that it adds


class CompiledRule(NamedTuple):
    name: str
    rule: Rule
    where: Expression | None

    def is_on(self, time_ms: int) -> bool:
        return is_on(self.rule.starts_time_ms, self.rule.ends_time_ms, time_ms)


class Ruling(NamedTuple):
    """What the rules say of K candidates."""

    hidden: Truths | None  # (K,); None where nothing is
    boosts: dict[str, Floats]  # (K,) what is added to the scores, by the name of the part
    pins: list[tuple[int, str, NDArray[np.int64]]]  # place from 1, the rule, which candidates it is about


NO_RULING = Ruling(None, {}, [])


def is_on(starts_ms: int | None, ends_ms: int | None, time_ms: int) -> bool:
    """Return whether what begins and ends then is on at `time_ms`; None: it has always been, or never ends."""
    return (starts_ms is None or starts_ms <= time_ms) and (ends_ms is None or time_ms < ends_ms)


def compiled(rules: Mapping[str, Rule]) -> tuple[CompiledRule, ...]:
    """Return the rules ready to be asked, by name.

    Raises:
        ExpressionError: a condition cannot be used.
    """
    return tuple(
        CompiledRule(name, rule, None if rule.where is None else Expression(rule.where))
        for name, rule in sorted(rules.items())
    )


def ruling(
    rules: tuple[CompiledRule, ...],
    item_index: NDArray[np.int64],
    index_of: Mapping[str, int],
    column: Callable[[str], object],
    session: Fields,
    time_ms: int,
) -> Ruling:
    """Return what the rules that are on at `time_ms` say of the candidates.

    Args:
        rules: of the policy.
        item_index: (K,) of the candidates.
        index_of: of the items of the shop.
        column: a field of the candidates, as expressions ask for it.
        session: fields of the session.
        time_ms: of the slate's event.
    """
    hidden: Truths | None = None
    boosts, pins = dict[str, Floats](), list[tuple[int, str, NDArray[np.int64]]]()
    with np.errstate(all="ignore"):
        for of in rules:
            if not of.is_on(time_ms):
                continue
            name, rule, where = of
            about = _listed(rule.items, item_index, index_of) if rule.items else None
            if where is not None:
                meets = where.truth({field: column(field) for field in where.item_fields}, session)
                if meets.ndim == 0:  # it reads no item
                    meets = np.full(len(item_index), meets)
                about = meets if about is None else about & meets
            if about is None or not about.any():
                continue
            if rule.hide:
                hidden = about if hidden is None else hidden | about
            if rule.boost:
                boosts[f"{BOOST}{name}"] = about * rule.boost
            if rule.pin is not None:
                pins.append((rule.pin, name, about.nonzero()[0]))
    return Ruling(hidden, boosts, pins) if hidden is not None or boosts or pins else NO_RULING


def _listed(items: tuple[str, ...], item_index: NDArray[np.int64], index_of: Mapping[str, int]) -> Truths:
    """Return (K,) whether each candidate is one of the items; of few, as they are, np.isin takes ten times as long."""
    numbers = np.array([index_of[item_id] for item_id in items if item_id in index_of], dtype=np.int64)
    listed: Truths = (item_index[:, None] == numbers).any(axis=1)
    return listed


def places(ruled: Ruling, scores: Floats, size: int) -> dict[int, tuple[int, str]]:
    """Return by place, from 1, the candidate that is pinned there and the rule.

    Of the items of a rule the one with the highest score, that is neither hidden nor pinned already; where a place is
    pinned already, or behind the slate's last, the nearest one before or else behind it that is left.
    """
    pinned: dict[int, tuple[int, str]] = {}
    taken = set[int]()
    for place, name, about in sorted(ruled.pins, key=lambda pin: (pin[0], pin[1])):
        left = [k for k in about.tolist() if k not in taken and not (ruled.hidden is not None and ruled.hidden[k])]
        free = [at for at in range(1, size + 1) if at not in pinned]
        if left and free:
            best = max(left, key=lambda k: (scores[k], -k))
            pinned[min(free, key=lambda at: (abs(at - place), at))] = best, name
            taken.add(best)
    return pinned
