"""What a job's metrics say now: the page that Prometheus reads, read once."""

import math
from collections.abc import Iterable, Iterator
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 5.0
PREFIX = "flink_taskmanager_job_task_operator_"
OURS = f"{PREFIX}rheostat_"


class Snapshot:
    """The samples of one moment."""

    def __init__(self, pages: Iterable[str], job: str | None = None) -> None:
        """Take what the pages of all processes say, of one job alone or of all that run there."""
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for page in pages:
            for family in text_string_to_metric_families(page):
                for sample in family.samples:
                    if job in (None, sample.labels.get("job_name", job)):
                        self._samples.setdefault(sample.name, []).append((sample.labels, sample.value))

    @property
    def names(self) -> set[str]:
        return set(self._samples)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum over all slots of samples with `labels`; 0 without any."""
        return sum(self._values(name, labels))

    def largest(self, name: str, **labels: str) -> float | None:
        """Return the largest of all slots, None where no slot has said anything."""
        return max(self._values(name, labels), default=None)

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Return each sample's labels and value."""
        return [(labels, value) for labels, value in self._samples.get(name, ()) if not math.isnan(value)]

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the sums by the values of `label`."""
        sums: dict[str, float] = {}
        for labels, value in self._samples.get(name, ()):
            sums[labels.get(label, "")] = sums.get(labels.get(label, ""), 0.0) + value
        return sums

    def _values(self, name: str, wanted: dict[str, str]) -> Iterator[float]:
        for labels, value in self._samples.get(name, ()):
            if wanted.items() <= labels.items() and not math.isnan(value):
                yield value


def scrape(urls: str, job: str | None = None) -> Snapshot:
    """Return what the metrics say.

    Args:
        urls: where they are read; those of several TaskManagers with commas between them.
        job: of which alone, as Flink names it; None: of all that run there.

    Raises:
        OSError: nobody answers.
    """
    pages, errors = list[str](), list[OSError]()
    for url in urls.split(","):
        try:
            with urlopen(url, timeout=TIMEOUT_S) as answer:
                pages.append(answer.read().decode())
        except OSError as error:  # a TaskManager that is gone, whose slots are elsewhere
            errors.append(error)
    if not pages:
        msg = f"no metrics at {urls} ({errors[0]}); does the job run, and was it started with --metrics-port?"
        raise OSError(msg) from errors[0]
    return Snapshot(pages, job)
