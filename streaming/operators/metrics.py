"""What the jobs count and time. docs/metrics.md says what each means and what it is called where Prometheus reads it.

All stand in the group `rheostat`. Counters end in `_total`, times say their unit. Flink's Python API has no histogram,
so those are Flink's own from Java, which its Prometheus reporter exports as a summary with quantiles.
"""

from collections.abc import Mapping
from typing import Protocol

from pyflink.datastream.functions import RuntimeContext
from pyflink.metrics import Counter, MetricGroup

from onnx_models.device import CPU
from streaming.control.state import ControlState
from streaming.flink.bundles import Meters
from streaming.policy.attribution import FeedbackStatus
from streaming.policy.estimates import FactsOf
from streaming.policy.surfaces import SURFACES
from streaming.records import now_ms
from streaming.schemas import Fallback, FeedbackType, Outcome, Reason, ReasonCode, Topic
from streaming.scoring.model import SessionModel
from streaming.scoring.recommender import Response

GROUP = "rheostat"
# What this version says; `other` is of a newer one.
_FALLBACKS: list[Fallback] = [fallback for fallback in Fallback if fallback is not Fallback.OTHER]
_REASONS: list[Reason] = [reason for reason in Reason if reason is not Reason.OTHER]
_IN_FORCE = "policy_version", "estimates_version", "suspicious_prices"
_OTHER = "other"  # surfaces
_MODEL = "model_on_gpu", "model_stepped_down"
_ANSWERED_UNTIL = "answered_until_ms"
LONGEST_MS = 2**31 - 1  # what a histogram takes: 24 days


class Gauge(Protocol):
    def update(self, value: int) -> None: ...


def group(runtime_context: RuntimeContext) -> MetricGroup:
    return runtime_context.get_metrics_group().add_group(GROUP)


def gauge(metrics: MetricGroup, name: str) -> Gauge:
    """Return what keeps the last number that it is given: Flink's Python calls that a distribution."""
    distribution: Gauge = metrics.distribution(name)
    return distribution


def dead_letters(metrics: MetricGroup) -> dict[Reason, Counter]:
    return {reason: metrics.add_group("reason", reason.value).counter("dead_letters_total") for reason in _REASONS}


def age_ms(time_ms: int) -> int:
    """Return how long ago something was, by the wall clock here; what comes from the future is of now."""
    return min(max(now_ms() - time_ms, 0), LONGEST_MS)


class LearnMetrics:
    """Of the operator `attribute`."""

    def __init__(self, runtime_context: RuntimeContext) -> None:
        metrics = group(runtime_context)
        self.fates = {
            status: metrics.add_group("fate", status.value).counter("feedback_total") for status in FeedbackStatus
        }
        self.dead_letters = dead_letters(metrics)


class OutcomeMetrics:
    """Of the operator `learn`: what came of slates, by the surface on which they were shown."""

    _COUNTERS = "seen_slates_total", "clicks_total", "purchases_total", "revenue_cents_total"

    def __init__(self, runtime_context: RuntimeContext) -> None:
        self._metrics = group(runtime_context)
        # From the start, so that a rate is one from the first event on; an app may call others what it likes.
        self._of_surface = {
            name: {counter: self._metrics.add_group("surface", name).counter(counter) for counter in self._COUNTERS}
            for name in (*sorted(SURFACES), _OTHER)
        }
        self._of_constraint: dict[tuple[str, str], Gauge] = {}

    def count(self, outcome: Outcome, facts_of: FactsOf) -> None:
        """Count the news of an outcome; revenue: what the pieces earn that were bought, by the items of now."""
        counters = self._of_surface.get(outcome.surface, self._of_surface[_OTHER])
        shown = sum(delta.change is FeedbackType.SHOWN for delta in outcome.news)
        counters["seen_slates_total"].inc(int(0 < shown == sum(item.shown for item in outcome.items)))
        counters["clicks_total"].inc(sum(delta.change is FeedbackType.CLICKED for delta in outcome.news))
        sold = [delta for delta in outcome.news if delta.change is FeedbackType.BOUGHT]
        counters["purchases_total"].inc(len(sold))
        earned = sum(delta.quantity * facts_of(outcome.items[delta.place - 1].item_id).value for delta in sold)
        counters["revenue_cents_total"].inc(round(100 * earned))

    def show(self, violations: Mapping[tuple[str, str], float | None]) -> None:
        """Show by how much of its bound each constraint is violated, by scope and name.

        -1: nothing has been measured of it yet, or there is no such constraint any more.
        """
        for scope, constraint in violations.keys() - self._of_constraint.keys():
            named = self._metrics.add_group("scope", scope).add_group("constraint", constraint)
            self._of_constraint[scope, constraint] = gauge(named, "violated_percent")
        for key, shown in self._of_constraint.items():
            violation = violations.get(key)
            shown.update(-1 if violation is None else round(100 * max(violation, 0.0)))


class RecommendMetrics:
    """Of the operator `recommend`: counted here, and told to Flink in Java once a bundle."""

    NAMES = (
        [
            *(f"events_total topic {topic.value}" for topic in (Topic.CLICKS, Topic.PURCHASES, Topic.REQUESTS)),
            *(f"slates_total fallback {fallback.value}" for fallback in _FALLBACKS),
            *(f"dead_letters_total reason {reason.value}" for reason in _REASONS),
            *(
                "places_total",
                "explored_places_total",
                "repeats_total",
                "late_total",
                "deferred_total",
                "degraded_total",
                "looks_total",
            ),
        ],
        ["bundle_size", "model_time_us", "weigh_time_us", "answer_time_us", "event_to_slate_ms"],
        [*_IN_FORCE, *_MODEL, _ANSWERED_UNTIL],
    )
    _EVENTS = frozenset({Topic.CLICKS.value, Topic.PURCHASES.value, Topic.REQUESTS.value})

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self._meters = Meters(*self.NAMES)
        self._oldest_ms = self._newest_ms = 0  # of what was answered since the last bundle; 0: nothing

    def count(self, topic: str, response: Response, answer_us: int) -> None:
        """Count what a record of `topic` has led to; probes, profiles and impressions are no events."""
        meters = self._meters
        if response.letter is not None:
            meters.inc(f"dead_letters_total reason {response.letter.value}")
        if response.looks:
            meters.inc("looks_total", response.looks)
        if topic not in self._EVENTS:
            return
        if response.until_ms is not None:
            meters.inc("deferred_total")
            return
        meters.inc(f"events_total topic {topic}")
        slate = response.slate
        if slate is None:
            return
        meters.inc(f"slates_total fallback {slate.fallback.value}")
        meters.inc("places_total", len(slate.items))
        meters.inc("explored_places_total", sum([item.reason is ReasonCode.EXPLORED for item in slate.items]))
        if response.is_repeat:
            meters.inc("repeats_total")
        if response.degraded:
            meters.inc("degraded_total")
        if response.late:
            meters.inc("late_total")
        if response.model_ns:
            meters.update("model_time_us", response.model_ns // 1000)
        meters.update("weigh_time_us", slate.scoring_ns // 1000)
        meters.update("answer_time_us", answer_us)
        if not self._oldest_ms or response.event_time_ms < self._oldest_ms:
            self._oldest_ms = response.event_time_ms
        self._newest_ms = max(self._newest_ms, response.event_time_ms)

    def of_bundle(self, control: ControlState, size: int) -> bytes:
        """Return for Java what was counted of a bundle of `size` records, and by what its slates are weighed."""
        self._meters.update("bundle_size", size)
        if self._oldest_ms:
            self._meters.update("event_to_slate_ms", age_ms(self._oldest_ms))
            self._meters.gauges[_ANSWERED_UNTIL] = self._newest_ms
            self._oldest_ms = self._newest_ms = 0
        return self.of_control(control)

    def of_control(self, control: ControlState) -> bytes:
        """Return for Java by what the slates are weighed."""
        values = control.table.version, control.estimates.version, control.catalogue.suspicious_prices
        self._meters.gauges.update(zip(_IN_FORCE, values, strict=True))
        stepped_down = self._model.stepped_down
        on_gpu = self._model.device != CPU and not stepped_down
        self._meters.gauges.update(zip(_MODEL, (int(on_gpu), int(stepped_down)), strict=True))
        return self._meters.packed()
