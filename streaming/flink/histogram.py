"""Histograms as Flink has them in Java: its Python API has none."""

from typing import Any, Protocol

from pyflink.metrics import MetricGroup

SAMPLE_COUNT = 1_000  # the newest values that quantiles are taken from


class Histogram(Protocol):
    def update(self, value: int) -> None: ...


def histogram(metrics: MetricGroup, name: str) -> Histogram:
    of_java: Any = metrics
    result: Histogram = of_java._metrics.histogram(name, java_histogram())
    return result


def java_histogram() -> Any:
    from pemja import findClass  # there is none outside of a TaskManager

    return findClass("org.apache.flink.runtime.metrics.DescriptiveStatisticsHistogram")(SAMPLE_COUNT)
