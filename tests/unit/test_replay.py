"""The pace of a replay, and what moving a log in time does to its events."""

import pytest
from support.records import views

from features.sources.datasets.registry import DATASETS as REGISTRY
from streaming.cli.log import DATASETS, _pace
from streaming.io.replay import Account, as_fast_as_answered, at_rate, at_speed, moved


def test_help_names_all_logs() -> None:
    assert tuple(REGISTRY) == DATASETS


def test_paces() -> None:
    assert as_fast_as_answered(9, 90_000) == 0.0
    assert at_rate(50)(100, 7) == 2.0
    assert at_speed(60)(3, 120_000) == 2.0


def test_moved_event_is_another_event() -> None:
    first, second = moved(views("s", 1_000, 3_000), by_ms=500)
    assert (first.event_id, first.event_time_ms, second.event_time_ms) == ("s-e0+500", 1_500, 3_500)


def test_account_is_whole_only_if_every_event_is_in_one_count() -> None:
    account = Account(sent=4, scored=2, late=1)
    account.dead_letters["invalid"] = 1
    assert account.is_whole
    assert not Account(sent=4, scored=2, late=1).is_whole
    assert not Account(sent=4, scored=3, unanswered=1).is_whole


@pytest.mark.parametrize(
    ("speed", "rate"), [("max", None), ("max", 0.01), ("1", None), ("1000", None), ("0.5", None)], ids=str
)
def test_no_event_happens_after_it_is_sent(speed: str, rate: float | None) -> None:
    """Of a log that is empty for long and crowded at its end: a job takes no event from the future."""
    times_ms = [0, 1_000, 3_600_000, *range(3_600_000, 3_600_100)]
    pace, ahead_ms = _pace(speed, rate, times_ms[-1])
    for number, time_ms in enumerate(times_ms):
        sent_ms = pace(number, time_ms) * 1000  # after the beginning
        happens_ms = time_ms + ahead_ms - times_ms[-1]
        assert happens_ms <= sent_ms + 1
