"""What is known of a shopper beyond the session: everything that can be added up, and so be merged.

It outlives the session and the keyed state of the job: Feast holds it, and a shopper who comes back brings it along.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from features import interest, price, windows
from features.interaction import KIND_NUMBER, KINDS, Interaction, Kind
from features.interest import Interests
from features.price import Bins
from features.spec import (
    DIMENSIONS,
    KIND_WEIGHT,
    LARGEST_COUNT,
    LATEST_MS,
    LONG,
    OLDEST_MS,
    PRICE_BIN_COUNT,
    SHORT,
    WINDOWS,
)
from features.windows import Tiles

_WEIGHTS = tuple([KIND_WEIGHT[kind] for kind in KINDS])
_PURCHASE = KIND_NUMBER[Kind.PURCHASE]


class Touch(NamedTuple):
    """An interaction without what is the same for all of a shopper, small enough to be kept. It sorts by time."""

    time_ms: int
    event: int  # hash of the event id
    kind: int
    item: str
    session: str
    category: str
    brand: str
    merchant: str
    price_quantile: float | None
    value: float | None  # price times quantity, of a purchase


class Profile(NamedTuple):
    """Sums over all that a shopper did."""

    evidence: int  # interactions that counted
    late: int  # of them, those that came after ALLOWED_LATENESS_MS
    oldest_ms: int  # 0 before the first interaction
    newest_ms: int
    tiles: tuple[Tiles, ...]  # in the order of WINDOWS
    short: Interests  # of categories alone: the last interactions say the rest
    long: Interests  # in the order of DIMENSIONS
    price: Bins
    purchases: int
    purchase_value: float
    last_purchase_ms: int  # 0 before the first


def empty() -> Profile:
    tiles = tuple([Tiles() for _ in WINDOWS])
    return Profile(
        0, 0, 0, 0, tiles, interest.empty(1), interest.empty(len(DIMENSIONS)), [0] * PRICE_BIN_COUNT, 0, 0.0, 0
    )


def touch_of(interaction: Interaction, event: int) -> Touch:
    return Touch(
        interaction.event_time_ms,
        event,
        KIND_NUMBER[interaction.kind],
        interaction.item_id,
        interaction.session_id,
        interaction.category,
        interaction.brand,
        interaction.merchant,
        interaction.price_quantile,
        interaction.value,
    )


def add(profile: Profile, touches: Sequence[Touch], late: bool = False) -> Profile:
    """Return the profile after `touches`, one after the other."""
    oldest_ms, newest_ms = profile.oldest_ms, profile.newest_ms
    tiles = tuple([tile.copy() for tile in profile.tiles])
    short, long, bins = interest.copy(profile.short), interest.copy(profile.long), profile.price.copy()
    purchases, purchase_value = profile.purchases, profile.purchase_value
    last_purchase_ms = profile.last_purchase_ms
    for time_ms, _, kind, _, _, category, brand, merchant, price_quantile, value in touches:
        newest_ms = max(newest_ms, time_ms)
        oldest_ms = min(oldest_ms or time_ms, time_ms)
        windows.add(tiles, kind, time_ms, newest_ms)
        weight, keys = _WEIGHTS[kind], (category, brand, merchant)
        short = interest.add(short, SHORT, keys[:1], kind, weight, time_ms, newest_ms)
        long = interest.add(long, LONG, keys, kind, weight, time_ms, newest_ms)
        if price_quantile is not None:
            price.add(bins, price_quantile, int(weight))
        if kind == _PURCHASE:
            purchases += 1
            purchase_value += value or 0.0
            last_purchase_ms = max(last_purchase_ms, time_ms)
    return Profile(
        profile.evidence + len(touches),
        profile.late + late * len(touches),
        oldest_ms,
        newest_ms,
        tiles,
        short,
        long,
        bins,
        purchases,
        purchase_value,
        last_purchase_ms,
    )


def check(profile: Profile) -> None:
    """Raise ValueError, saying which, if a part of the profile is nothing that interactions lead to."""
    counts = profile.evidence, profile.late, profile.purchases
    times = profile.oldest_ms, profile.newest_ms, profile.last_purchase_ms
    tiles, interests = profile.tiles, (profile.short, profile.long)
    parts = {
        "counts": all(0 <= count <= LARGEST_COUNT for count in counts),
        "times": all(time_ms == 0 or OLDEST_MS <= time_ms <= LATEST_MS for time_ms in times)
        and profile.oldest_ms <= profile.newest_ms,
        "tiles": len(tiles) == len(WINDOWS)
        and all(windows.are_plausible(of, window) for of, window in zip(tiles, WINDOWS, strict=True)),
        "interests": all(
            interest.are_plausible(of, count) for of, count in zip(interests, (1, len(DIMENSIONS)), strict=True)
        ),
        "price": len(profile.price) == PRICE_BIN_COUNT
        and all(0 <= weight <= LARGEST_COUNT for weight in profile.price),
        "purchase_value": 0 <= profile.purchase_value < inf,
    }
    if implausible := [name for name, is_plausible in parts.items() if not is_plausible]:
        msg = f"{', '.join(implausible)}: out of bounds"
        raise ValueError(msg)


def merge(profile: Profile, other: Profile) -> Profile:
    """Return the profile of one who did both."""
    return Profile(
        profile.evidence + other.evidence,
        profile.late + other.late,
        min(profile.oldest_ms or other.oldest_ms, other.oldest_ms or profile.oldest_ms),
        max(profile.newest_ms, other.newest_ms),
        tuple([windows.merge(a, b) for a, b in zip(profile.tiles, other.tiles, strict=True)]),
        interest.merge(profile.short, other.short, SHORT),
        interest.merge(profile.long, other.long, LONG),
        price.merge(profile.price, other.price),
        profile.purchases + other.purchases,
        profile.purchase_value + other.purchase_value,
        max(profile.last_purchase_ms, other.last_purchase_ms),
    )
