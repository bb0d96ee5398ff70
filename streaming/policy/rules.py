"""What merchandising has decided of some items: hidden, also once seen too often, pinned, scored higher or lower. Pure.

A rule is about the items that it lists, about those of which its condition holds, or about those of both. Of what a
slate may hold, `K` candidates, the hidden ones are never picked; a boost is a part of the score beside the objectives;
a pin gives its place to the best of its items, before that place is for sale or drawn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features import looks
from features.looks import Look
from features.spec import HOUR_MS
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

    def hides(self, looked: Sequence[Look]) -> bool:
        """Whether it may hide items from a shopper who has looked so."""
        return self.rule.hide or (self.rule.frequency_cap is not None and len(looked) > 0)

    @property
    def adds(self) -> bool:
        """Whether items that it lists are candidates, whatever the model says."""
        return self.rule.pin is not None or self.rule.boost != 0.0

    @property
    def counted_ms(self) -> int:
        """For how long a look counts for its frequency cap."""
        cap = self.rule.frequency_cap
        return 0 if cap is None else round(cap.hours * HOUR_MS)


class Ruling(NamedTuple):
    """What the rules say of K candidates."""

    hidden: Truths | None  # (K,); None where nothing is
    boosts: dict[str, Floats]  # (K,) what is added to the scores, by the name of the part
    pins: list[tuple[int, str, NDArray[np.int64]]]  # place from 1, the rule, which candidates it is about
    capped: dict[int, str]  # candidates that are hidden since the shopper has seen them too often, and the rule


NO_RULING = Ruling(None, {}, [], {})


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
    looked: Sequence[Look] = (),
) -> Ruling:
    """Return what the rules that are on at `time_ms` say of the candidates.

    Args:
        rules: of the policy.
        item_index: (K,) of the candidates.
        index_of: of the items of the shop.
        column: a field of the candidates, as expressions ask for it.
        session: fields of the session.
        time_ms: of the slate's event.
        looked: what the shopper has seen, as far as frequency caps are about it.
    """
    hidden: Truths | None = None
    boosts, pins, capped = dict[str, Floats](), list[tuple[int, str, NDArray[np.int64]]](), dict[int, str]()
    with np.errstate(all="ignore"):
        for of in rules:
            if not of.is_on(time_ms) or not (of.adds or of.hides(looked)):
                continue
            name, rule = of.name, of.rule
            about = _about(of, item_index, index_of, column, session)
            if about is None or not about.any():
                continue
            if rule.hide:
                hidden = about if hidden is None else hidden | about
            if rule.frequency_cap is not None and looked:
                count_of = looks.counts(looked, time_ms - of.counted_ms)
                often = tuple([item_id for item_id, count in count_of.items() if count >= rule.frequency_cap.times])
                seen = about & _listed(often, item_index, index_of)
                if seen.any():
                    hidden = seen if hidden is None else hidden | seen
                    capped |= dict.fromkeys(seen.nonzero()[0].tolist(), name)
            if rule.boost:
                boosts[f"{BOOST}{name}"] = about * rule.boost
            if rule.pin is not None:
                pins.append((rule.pin, name, about.nonzero()[0]))
    return Ruling(hidden, boosts, pins, capped) if hidden is not None or boosts or pins else NO_RULING


def counted(
    caps: Iterable[CompiledRule],
    items: Sequence[str],
    index_of: Mapping[str, int],
    column: Callable[[str, NDArray[np.int64]], object],
) -> list[str]:
    """Return which of the items that were seen one of the caps is about; what the shop does not have, none is."""
    there = [item_id for item_id in dict.fromkeys(items) if item_id in index_of]
    item_index = np.array([index_of[item_id] for item_id in there], dtype=np.int64)
    counting = np.zeros(len(there), dtype=bool)
    with np.errstate(all="ignore"):
        for of in caps:
            about = _about(of, item_index, index_of, lambda field: column(field, item_index), {})
            if about is not None:
                counting |= about
    return [item_id for item_id, counts in zip(there, counting.tolist(), strict=True) if counts]


def _about(
    of: CompiledRule,
    item_index: NDArray[np.int64],
    index_of: Mapping[str, int],
    column: Callable[[str], object],
    session: Fields,
) -> Truths | None:
    """Return (K,) which candidates the rule is about; None for one that names none."""
    about = _listed(of.rule.items, item_index, index_of) if of.rule.items else None
    if of.where is None:
        return about
    meets = of.where.truth({field: column(field) for field in of.where.item_fields}, session)
    if meets.ndim == 0:  # it reads no item
        meets = np.full(len(item_index), meets)
    return meets if about is None else about & meets


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
