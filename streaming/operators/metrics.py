"""What the jobs count and time. docs/metrics.md says what each means and what it is called where Prometheus reads it.

All stand in the group `rheostat`. Counters end in `_total`, times say their unit. Flink's Python API has no histogram,
so those are Flink's own from Java, which its Prometheus reporter exports as a summary with quantiles.
"""

from typing import Protocol

from pyflink.datastream.functions import RuntimeContext
from pyflink.metrics import Counter, MetricGroup

from streaming.control.state import ControlState
from streaming.flink.histogram import histogram
from streaming.policy.attribution import FeedbackStatus
from streaming.schemas import Fallback, Reason, ReasonCode, Topic
from streaming.scoring.recommender import Response

GROUP = "rheostat"
# What this version says; `other` is of a newer one.
_FALLBACKS: list[Fallback] = [fallback for fallback in Fallback if fallback is not Fallback.OTHER]
_REASONS: list[Reason] = [reason for reason in Reason if reason is not Reason.OTHER]
_IN_FORCE = "policy_version", "estimates_version", "suspicious_prices"


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


class LearnMetrics:
    """Of the operator `attribute`."""

    def __init__(self, runtime_context: RuntimeContext) -> None:
        metrics = group(runtime_context)
        self.fates = {
            FeedbackStatu: metrics.add_group("fate", FeedbackStatu.value).counter("feedback_total")
            for FeedbackStatu in FeedbackStatus
        }
        self.dead_letters = dead_letters(metrics)


class RecommendMetrics:
    """Of the operator `recommend`."""

    def __init__(self, runtime_context: RuntimeContext) -> None:
        metrics = group(runtime_context)
        topics = (Topic.CLICKS, Topic.PURCHASES)
        self._events = {
            topic.value: metrics.add_group("topic", topic.value).counter("events_total") for topic in topics
        }
        self._slates = {
            fallback: metrics.add_group("fallback", fallback.value).counter("slates_total") for fallback in _FALLBACKS
        }
        self._dead_letters = dead_letters(metrics)
        self._places, self._explored = metrics.counter("places_total"), metrics.counter("explored_places_total")
        self._repeats, self._late = metrics.counter("repeats_total"), metrics.counter("late_total")
        self._model_us, self._scoring_us = histogram(metrics, "model_time_us"), histogram(metrics, "weigh_time_us")
        self._answer_us = histogram(metrics, "answer_time_us")
        self._gauges = {name: gauge(metrics, name) for name in _IN_FORCE}
        self._said = dict.fromkeys(_IN_FORCE, -1)

    def count(self, topic: str, response: Response, answer_ns: int) -> None:
        """Count what a record of `topic` has led to; probes and profiles are no events."""
        if response.letter is not None:
            self._dead_letters[response.letter].inc()
        events = self._events.get(topic)
        if events is None:
            return
        events.inc()
        if response.slate is None:
            return
        self._slates[response.slate.fallback].inc()
        self._places.inc(len(response.slate.items))
        self._explored.inc(sum([item.reason is ReasonCode.EXPLORED for item in response.slate.items]))
        if response.is_repeat:
            self._repeats.inc()
        if response.late:
            self._late.inc()
        if response.model_ns:
            self._model_us.update(response.model_ns // 1000)
        self._scoring_us.update(response.slate.scoring_ns // 1000)
        self._answer_us.update(answer_ns // 1000)

    def in_force(self, control: ControlState) -> None:
        """Say by what the slates are weighed."""
        values = control.table.version, control.estimates.version, control.catalogue.suspicious_prices
        for name, value in zip(_IN_FORCE, values, strict=True):
            if value != self._said[name]:
                self._gauges[name].update(value)
                self._said[name] = value
