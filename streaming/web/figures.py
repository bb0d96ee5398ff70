"""What slates brought lately, by surface and by ten seconds: what the console's figures are made of."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import msgspec

STEP_S, KEPT_S = 10, 3_600
POINTS_AT_MOST = 60  # of a curve
EVERY_SURFACE = ""


@dataclass
class Tally:
    """What came in within a step."""

    slates: int = 0
    places: int = 0
    explored: int = 0  # of the places
    seen: int = 0  # slates that were looked at
    clicks: int = 0
    purchases: int = 0  # less what came back
    revenue: float = 0.0  # price times margin of those
    fallbacks: Counter[str] = field(default_factory=Counter)  # slates, by why they are not the model's

    def add(self, other: "Tally") -> None:
        self.slates += other.slates
        self.places += other.places
        self.explored += other.explored
        self.seen += other.seen
        self.clicks += other.clicks
        self.purchases += other.purchases
        self.revenue += other.revenue
        self.fallbacks += other.fallbacks

    def rates(self) -> "Rates":
        """Return what a slate brought; None where there was none."""
        seen, places = self.seen, self.places
        return Rates(
            self.clicks / seen if seen else None,
            self.purchases / seen if seen else None,
            self.revenue / seen if seen else None,
            self.explored / places if places else None,
        )


class Rates(msgspec.Struct, frozen=True):
    clicks: float | None  # of a slate that was looked at
    purchases: float | None  # of one
    revenue: float | None  # of one, price times margin
    explored: float | None  # share of the places


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of the slates of the last `seconds`, and as curves."""

    seconds: int  # that were asked for
    covered_s: int  # of them, since it was begun to count
    slates: int
    seen: int  # of the slates
    slates_per_second: float
    rates: Rates
    fallbacks: dict[str, int]  # slates, by why they are not the model's
    times_s: list[int]  # ends of the steps of the curves, since the epoch
    curves: dict[str, list[float | None]]  # by the names of `rates`


class Tallies:
    """Counts by step and surface, for an hour.

    Args:
        began_s: when it is begun to count, since the epoch.
    """

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._steps: dict[int, dict[str, Tally]] = {}

    def of(self, surface: str, now_s: float) -> Tally:
        """Return what is to be added to, of the step and surface."""
        step = int(now_s) // STEP_S
        if step not in self._steps:
            self._steps = {at: tallies for at, tallies in self._steps.items() if at > step - KEPT_S // STEP_S - 1}
            self._steps[step] = defaultdict(Tally)
        return self._steps[step][surface]

    def surfaces(self) -> list[str]:
        return sorted({surface for tallies in self._steps.values() for surface in tallies})

    def figures(self, seconds: int, surface: str, now_s: float) -> Figures:
        """Return what the slates of a surface, or of every one, brought within the last `seconds`."""
        newest, count = int(now_s) // STEP_S, max(seconds // STEP_S, 1)
        width = -(-count // POINTS_AT_MOST)
        firsts = range(newest - count + 1, newest + 1, width)
        points = [self._sum(range(first, min(first + width, newest + 1)), surface) for first in firsts]
        total = Tally()
        for point in points:
            total.add(point)
        covered = max(min(seconds, round(now_s - self._began_s)), 1)
        of_points = [point.rates() for point in points]
        return Figures(
            seconds=seconds,
            covered_s=covered,
            slates=total.slates,
            seen=total.seen,
            slates_per_second=total.slates / covered,
            rates=total.rates(),
            fallbacks=dict(total.fallbacks.most_common()),
            times_s=[min(first + width, newest + 1) * STEP_S for first in firsts],
            curves={name: [getattr(rates, name) for rates in of_points] for name in Rates.__struct_fields__},
        )

    def _sum(self, steps: range, surface: str) -> Tally:
        sums = Tally()
        for at in steps:
            for name, tally in self._steps.get(at, {}).items():
                if surface in (EVERY_SURFACE, name):
                    sums.add(tally)
        return sums
