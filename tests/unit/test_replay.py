"""The pace of a replay, and what moving a log in time does to its events."""

from support.records import views

from streaming.io.replay import Account, as_fast_as_answered, at_rate, at_speed, moved


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
