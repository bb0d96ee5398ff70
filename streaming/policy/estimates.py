"""What outcomes say: of each item, of the positions of a slate, and of the model's probabilities. Pure.

A position k of a slate is looked at with chance looked(k), relative to the first (the examination hypothesis: Craswell
et al. 2008, "An experimental comparison of click position-bias models"); what is looked at is clicked as predicted,
after a correction of all predictions (Platt 1999) and one of the item's:

    clicks of item i ~ Poisson(lift(i) * E(i)),  E(i) = sum over its impressions of looked(k) * P(clicked | looked at)

With the prior lift ~ Gamma(a, a / g), a = PRIOR_CLICKS, the posterior has the mean (a + clicks) / (a / g + E) and the
standard deviation sqrt(a + clicks) / (a / g + E): an item without outcomes is as others of its groups are, whose common
lifts have the product g, and how uncertain that is is what exploration is optimistic about. Its groups are its price
level, a tenth of the items of a category by price, and its brand: dear items are clicked and bought less and those of
some brands more, of which a model of sessions knows nothing. A group's lift is estimated in the same way, where E has
the lift of each item's other group as it is known then (iterative proportional fitting in one pass: Deming & Stephan
1940, "On a least squares adjustment of a sampled frequency table"). So for purchases per click, by price level alone.
An impression, and what came of it, counts by its `weight` (`streaming.policy.impression_weights`): what one shopper
does moves little. Of a place that is bought more than once one sale counts, until all of it has come back.
Everything decays with HALF_LIFE_MS, so that what was learnt before interests or prices changed is forgotten (forward
decay: Cormode et al. 2009, "Forward decay: a practical time decay model for streaming systems"): a fact at time t
weighs 2^((t - start) / half-life), and what is read is divided by the weight of now.
"""

from collections.abc import Callable, Iterable
from math import exp, log, sqrt
from typing import NamedTuple

import msgspec
import numpy as np

from features.spec import HOUR_MS
from streaming.policy.objectives import EXAMINATION_PROB, PRIOR_BUY_RATE, PRIOR_CLICK_RATE, UNLIKELY, sigmoid
from streaming.schemas import (
    PRICE_LEVELS,
    SLATE_SIZE,
    Estimates,
    FeedbackType,
    ItemEstimate,
    LevelEstimate,
    Outcome,
    OutcomeDelta,
    OutcomeItem,
    ReturnDelta,
)

HALF_LIFE_MS = 6 * HOUR_MS
PRIOR_CLICKS = 5.0  # a, clicks that the prior of an item counts for
PRIOR_BUYS = 2.0  # purchases that the prior of an item counts for
PRIOR_LEVEL_CLICKS, PRIOR_LEVEL_BUYS = 30.0, 5.0  # of a price level
PRIOR_BRAND_CLICKS = 10.0  # of a brand
PRIOR_POSITION_CLICKS = 20.0  # of a position
PRIOR_ALL_CLICKS = 20.0  # of the correction of all predictions, and of the buy rate
PRIOR_LOOKED = EXAMINATION_PROB[:SLATE_SIZE]
LEVELS, UNKNOWN_LEVEL = PRICE_LEVELS + 1, PRICE_LEVELS
BINS, BIN_WIDTH = 48, 0.5  # of log odds of what was predicted, around 0
NEWTON_STEPS = 8
STEP_AT_MOST = 1.0  # of one of Newton's
INTERCEPT_SPREAD, SLOPE_SPREAD = 2.0, 0.5  # standard deviations of the prior
SLOPE_AT_LEAST = 0.05  # what the model finds likelier stays so
LOOKED_AT_LEAST = 0.01
RESCALE_AFTER = 40  # half-lives: 2^40 still leaves a double its small summands
FORGOTTEN_BELOW = 0.01  # clicks, expected ones and purchases
DIGITS = 4


class ItemFacts(NamedTuple):
    """What the shop says of an item."""

    merchant: str = ""
    value: float = 0.0  # price times margin
    level: int = UNKNOWN_LEVEL  # the tenth of its category's prices that it lies in
    brand: str = ""


FactsOf = Callable[[str], ItemFacts]


class Counts(msgspec.Struct, array_like=True):
    """Decayed sums of an item, or of all items of a group."""

    expected: float = 0.0  # E, clicks
    clicks: float = 0.0
    buys: float = 0.0

    def times(self, by: float) -> "Counts":
        return Counts(self.expected * by, self.clicks * by, self.buys * by)


class OutcomeEstimator(msgspec.Struct):
    """All that is remembered of outcomes. Changed in place; what is kept of it is msgpack."""

    model_version: str = ""
    version: int = 0
    start_ms: int = 0  # of the decay
    newest_ms: int = 0  # of the outcomes
    items: dict[str, Counts] = {}
    levels: list[Counts] = msgspec.field(default_factory=lambda: [Counts() for _ in range(LEVELS)])
    brands: dict[str, Counts] = {}
    place_expected: list[float] = msgspec.field(default_factory=lambda: [0.0] * SLATE_SIZE)
    place_clicks: list[float] = msgspec.field(default_factory=lambda: [0.0] * SLATE_SIZE)
    bin_looks: list[float] = msgspec.field(default_factory=lambda: [0.0] * BINS)
    bin_clicks: list[float] = msgspec.field(default_factory=lambda: [0.0] * BINS)
    clicks: float = 0.0
    buys: float = 0.0
    shown: float = 0.0
    shown_chance: float = 0.0  # sum of P(clicked | looked at) over what was shown
    looked: list[float] = msgspec.field(default_factory=lambda: list(PRIOR_LOOKED))
    intercept: float = 0.0
    slope: float = 1.0

    def take(self, outcomes: Iterable[Outcome], facts_of: FactsOf) -> None:
        """Count the news of `outcomes`, of this model and each revision once."""
        for outcome in outcomes:
            self.start_ms = self.start_ms or outcome.event_time_ms
            weight = self._weight(outcome.event_time_ms)
            for delta in outcome.news:
                item = outcome.items[delta.place - 1]
                if is_first(delta, item):
                    self._count(item, facts_of(item.item_id), delta.change, weight * item.weight)
            for returned in outcome.returns:
                item = outcome.items[returned.place - 1]
                if is_undone(returned, item):
                    self._count_return(item, facts_of(item.item_id), weight * item.weight)

    def estimates(self, facts_of: FactsOf) -> Estimates:
        """Return what is known now, the time of the newest outcome; what comes from here on is counted by it."""
        scale = 1.0 / self._weight(self.newest_ms)
        self._forget(scale)
        self._fit_examination(scale)
        self._fit_predictions(scale)
        self.version += 1
        shown = PRIOR_ALL_CLICKS / PRIOR_CLICK_RATE + scale * self.shown
        buy_rate = self._buy_rate(scale)
        levels = [self._level(level, scale, buy_rate) for level in range(LEVELS)]
        brands = {brand: self._brand_lift(brand, scale) for brand in self.brands}

        def of(counts: Counts, facts: ItemFacts) -> ItemEstimate:
            return _estimate(counts, levels[facts.level], brands.get(facts.brand, 1.0), scale, buy_rate)

        return Estimates(
            version=self.version,
            time_ms=self.newest_ms,
            model_version=self.model_version,
            intercept=self.intercept,
            slope=self.slope,
            click_rate=max((PRIOR_ALL_CLICKS + scale * self.shown_chance) / shown, UNLIKELY),
            buy_rate=buy_rate,
            looked=tuple(self.looked),
            prior_spread=1.0 / sqrt(PRIOR_CLICKS),
            levels=tuple(levels),
            brands=brands,
            items={item: of(counts, facts_of(item)) for item, counts in self.items.items()},
        )

    def chance(self, predicted: float) -> float:
        """Return P(clicked | looked at) of an item without outcomes of its own."""
        return 1.0 / (1.0 + exp(-self.intercept - self.slope * _log_odds(predicted)))

    def expects(self, item: OutcomeItem, facts: ItemFacts) -> tuple[float, float]:
        """Return what a position that is shown has of clicks and of purchases."""
        scale = 1.0 / self._weight(self.newest_ms)
        buy_rate = self._buy_rate(scale)
        of_level, of_brand = self._level(facts.level, scale, buy_rate), self._brand_lift(facts.brand, scale)
        estimate = _estimate(self.items.get(item.item_id, Counts()), of_level, of_brand, scale, buy_rate)
        clicks = self.looked[min(item.place, SLATE_SIZE) - 1] * self.chance(item.predicted) * estimate.lift
        return clicks, clicks * buy_rate * estimate.buy_lift

    def _level(self, level: int, scale: float, buy_rate: float) -> LevelEstimate:
        counts = self.levels[level]
        clicks = scale * counts.clicks
        return LevelEstimate(
            lift=_lift(counts, PRIOR_LEVEL_CLICKS, scale),
            buy_lift=_rounded((PRIOR_LEVEL_BUYS + scale * counts.buys) / (PRIOR_LEVEL_BUYS + clicks * buy_rate)),
        )

    def _brand_lift(self, brand: str, scale: float) -> float:
        counts = self.brands.get(brand)
        return 1.0 if counts is None else _lift(counts, PRIOR_BRAND_CLICKS, scale)

    def _buy_rate(self, scale: float) -> float:
        """Return the purchases per click; of more than one a click is taken to lead to one."""
        bought = PRIOR_ALL_CLICKS * PRIOR_BUY_RATE + scale * self.buys
        return min(bought / (PRIOR_ALL_CLICKS + scale * self.clicks), 1.0)

    def _weight(self, time_ms: int) -> float:
        self.newest_ms = max(self.newest_ms, time_ms)
        if (self.newest_ms - self.start_ms) / HALF_LIFE_MS > RESCALE_AFTER:
            self._scale(2.0 ** ((self.start_ms - self.newest_ms) / HALF_LIFE_MS))
            self.start_ms = self.newest_ms
        return float(2.0 ** ((time_ms - self.start_ms) / HALF_LIFE_MS))

    def _scale(self, by: float) -> None:
        self.items = {item: counts.times(by) for item, counts in self.items.items()}
        self.levels = [counts.times(by) for counts in self.levels]
        self.brands = {brand: counts.times(by) for brand, counts in self.brands.items()}
        for name in ("place_expected", "place_clicks", "bin_looks", "bin_clicks"):
            setattr(self, name, [count * by for count in getattr(self, name)])
        for name in ("clicks", "buys", "shown", "shown_chance"):
            setattr(self, name, getattr(self, name) * by)

    def _count(self, item: OutcomeItem, facts: ItemFacts, change: FeedbackType, weight: float) -> None:
        position = min(item.place, SLATE_SIZE) - 1
        at = min(max(int(_log_odds(item.predicted) / BIN_WIDTH + BINS / 2), 0), BINS - 1)
        own, of_level = self.items.setdefault(item.item_id, Counts()), self.levels[facts.level]
        of_brand = self.brands.setdefault(facts.brand, Counts()) if facts.brand else Counts()
        match change:
            case FeedbackType.SHOWN:
                chance, scale = self.chance(item.predicted), 1.0 / self._weight(self.newest_ms)
                expected = weight * self.looked[position] * chance
                lifts = _lift(of_level, PRIOR_LEVEL_CLICKS, scale), _lift(of_brand, PRIOR_BRAND_CLICKS, scale)
                own.expected += expected
                of_level.expected += expected * lifts[1]
                of_brand.expected += expected * lifts[0]
                # Without the item's lift: both would explain the same clicks, and neither would come to its own.
                self.place_expected[position] += weight * chance
                self.bin_looks[at] += weight * self.looked[position]
                self.shown += weight
                self.shown_chance += weight * chance
            case FeedbackType.CLICKED:
                for counts in (own, of_level, of_brand):
                    counts.clicks += weight
                self.place_clicks[position] += weight
                self.bin_clicks[at] += weight
                self.clicks += weight
            case FeedbackType.BOUGHT:
                for counts in (own, of_level):
                    counts.buys += weight
                self.buys += weight

    def _count_return(self, item: OutcomeItem, facts: ItemFacts, weight: float) -> None:
        """Take back what a sale weighed, which is exact: it decays by the slate's time, as it did when it was made."""
        for counts in (self.items.get(item.item_id, Counts()), self.levels[facts.level]):
            counts.buys = max(counts.buys - weight, 0.0)
        self.buys = max(self.buys - weight, 0.0)

    def _forget(self, scale: float) -> None:
        self.items, self.brands = (
            {
                name: of_item
                for name, of_item in counts_of.items()
                if scale * (of_item.expected + of_item.clicks + of_item.buys) >= FORGOTTEN_BELOW
            }
            for counts_of in (self.items, self.brands)
        )

    def _fit_examination(self, scale: float) -> None:
        """Estimate looked(k) as clicks over what was expected of position k if it were looked at, beside its prior."""
        rates = [
            (PRIOR_POSITION_CLICKS * prior + scale * clicks) / (PRIOR_POSITION_CLICKS + scale * expected)
            for prior, clicks, expected in zip(PRIOR_LOOKED, self.place_clicks, self.place_expected, strict=True)
        ]
        self.looked = [min(max(rate / rates[0], LOOKED_AT_LEAST), 1.0) for rate in rates]

    def _fit_predictions(self, scale: float) -> None:
        """Fit intercept and slope by Newton's method on the bins, with a normal prior around 0 and 1."""
        logits = (np.arange(BINS) + 0.5 - BINS / 2) * BIN_WIDTH
        looks, clicks = scale * np.array(self.bin_looks), scale * np.array(self.bin_clicks)
        inputs = np.column_stack([np.ones(BINS), logits])
        precision = np.diag([1.0 / INTERCEPT_SPREAD**2, 1.0 / SLOPE_SPREAD**2])
        fitted, prior = np.array([self.intercept, self.slope]), np.array([0.0, 1.0])
        for _ in range(NEWTON_STEPS):
            chances = sigmoid(inputs @ fitted)
            gradient = inputs.T @ (clicks - looks * chances) - precision @ (fitted - prior)
            curvature = (inputs * (looks * chances * (1.0 - chances))[:, None]).T @ inputs + precision
            fitted = fitted + np.clip(np.linalg.solve(curvature, gradient), -STEP_AT_MOST, STEP_AT_MOST)
        self.intercept, self.slope = float(fitted[0]), max(float(fitted[1]), SLOPE_AT_LEAST)


def is_first(delta: OutcomeDelta, item: OutcomeItem) -> bool:
    """Return whether the news counts: of a place that is bought again and again, the first sale does."""
    return delta.change is not FeedbackType.BOUGHT or item.bought <= delta.quantity


def is_undone(returned: ReturnDelta, item: OutcomeItem) -> bool:
    """Return whether with this return all that was bought of the place has come back."""
    return returned.quantity > 0 and item.bought == 0


def _log_odds(predicted: float) -> float:
    likely = min(max(predicted, UNLIKELY), 1.0 - UNLIKELY)
    return log(likely / (1.0 - likely))


def _lift(counts: Counts, prior_clicks: float, scale: float) -> float:
    return _rounded((prior_clicks + scale * counts.clicks) / (prior_clicks + scale * counts.expected))


def _rounded(lift: float) -> float:
    """Return it with DIGITS, and never as 0: others are divided by it."""
    return max(round(lift, DIGITS), 10.0**-DIGITS)


def _estimate(counts: Counts, level: LevelEstimate, brand_lift: float, scale: float, buy_rate: float) -> ItemEstimate:
    clicks = scale * counts.clicks
    strength = PRIOR_CLICKS / (level.lift * brand_lift) + scale * counts.expected
    return ItemEstimate(
        lift=_rounded((PRIOR_CLICKS + clicks) / strength),
        spread=_rounded(sqrt(PRIOR_CLICKS + clicks) / strength),
        buy_lift=_rounded((PRIOR_BUYS + scale * counts.buys) / (PRIOR_BUYS / level.buy_lift + clicks * buy_rate)),
    )
