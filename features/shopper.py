"""All that is kept of one shopper, and how an interaction changes it.

Interactions count in the order of event time (equal times by the hash of their event id), whatever the order of their
arrival: what is younger than ALLOWED_LATENESS_MS is held back as it came, and settled when nothing may overtake it any
more. A row is read from what is settled with all that is held back added in order, so it is the same, to the bit, for
every order of arrival inside the allowed lateness. What comes later than that is counted as late and changes what can
still be added up (`features.profile`, what was bought), but neither the session nor the last interactions.
"""

import hashlib
from bisect import insort
from collections.abc import Sequence
from typing import NamedTuple

from features import profile, session
from features.interaction import KIND_NUMBER, Interaction, Kind
from features.looks import Look
from features.profile import Profile, Touch, touch_of
from features.session import Session
from features.spec import ALLOWED_LATENESS_MS, BOUGHT_COUNT, HELD_BACK_COUNT, REPEAT_WINDOW_COUNT

_PURCHASE = KIND_NUMBER[Kind.PURCHASE]


class ShopperView(NamedTuple):
    """A shopper as seen after some interactions, all of them in order."""

    profile: Profile
    session: Session
    bought: tuple[str, ...]  # items, the one bought last at the end


class ShopperState(NamedTuple):
    """What is settled, what is held back, and what has been seen. Never changed: an update makes a new one."""

    settled: ShopperView
    settled_until: tuple[int, int] = (0, 0)  # (time, hash) of the newest interaction that is settled
    held_back: tuple[Touch, ...] = ()  # in order
    seen: tuple[int, ...] = ()  # hashes of the interactions that counted last
    sequence: int = 0  # interactions that counted, ever
    adopted: str = ""  # where the profile that was adopted lies; "" before that
    looks: tuple[Look, ...] = ()  # at items that a frequency cap is about

    @property
    def is_new(self) -> bool:
        """Whether nothing is known of what the shopper has done, here or before."""
        return not self.sequence and not self.adopted


def new() -> ShopperState:
    return ShopperState(ShopperView(profile.empty(), Session(), ()))


def event_of(interaction: Interaction) -> int:
    """Return 63 bits that tell an interaction from all others of its shopper."""
    if interaction.kind is Kind.PURCHASE:  # the lines of an order may share an event id
        return event_hash(f"{interaction.event_id}\n{interaction.item_id}")
    return event_hash(interaction.event_id)


def event_hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def update(state: ShopperState, interaction: Interaction) -> ShopperState:
    """Return the state after `interaction`; `state` itself if it is among the last REPEAT_WINDOW_COUNT that counted."""
    event = event_of(interaction)
    if event in state.seen:
        return state
    touch = touch_of(interaction, event)
    settled, until = state.settled, state.settled_until
    newest_ms = state.held_back[-1].time_ms if state.held_back else settled.session.last_ms
    open_from_ms = max(newest_ms, touch.time_ms) - ALLOWED_LATENESS_MS
    held_back = list(state.held_back)
    if touch[:2] < until or touch.time_ms < open_from_ms:
        late = profile.add(settled.profile, [touch], late=True)
        settled = ShopperView(late, settled.session, _bought(settled.bought, [touch]))
    else:
        insort(held_back, touch)
    due = sum([interaction.time_ms < open_from_ms for interaction in held_back])
    due = max(due, len(held_back) - HELD_BACK_COUNT)
    if due:
        settled, until = _fold(settled, held_back[:due]), held_back[due - 1][:2]
    return ShopperState(
        settled,
        until,
        tuple(held_back[due:]),
        (*state.seen[-REPEAT_WINDOW_COUNT + 1 :], event),
        state.sequence + 1,
        state.adopted,
        state.looks,
    )


def view(state: ShopperState) -> ShopperView:
    """Return the shopper as of the newest interaction."""
    return _fold(state.settled, state.held_back)


def adopt(state: ShopperState, brought: Profile, origin: str) -> ShopperState:
    """Return the state with the profile from before it was known here, which may be empty; only the first one counts.

    One that holds anything as young as the state does is left aside: its interactions could be the same.
    """
    if state.adopted:
        return state
    known = view(state).profile
    if known.oldest_ms and brought.newest_ms >= known.oldest_ms:
        return state._replace(adopted=origin)
    merged = profile.merge(brought, state.settled.profile)
    return state._replace(settled=state.settled._replace(profile=merged), adopted=origin)


def _fold(settled: ShopperView, touches: Sequence[Touch]) -> ShopperView:
    return ShopperView(
        profile.add(settled.profile, touches),
        session.add(settled.session, touches),
        _bought(settled.bought, touches),
    )


def _bought(bought: tuple[str, ...], touches: Sequence[Touch]) -> tuple[str, ...]:
    for item in [touch.item for touch in touches if touch.kind == _PURCHASE]:
        bought = (*[item_id for item_id in bought if item_id != item], item)[-BOUGHT_COUNT:]
    return bought
