"""What slates brought lately, by surface and time."""

import pytest

from streaming.web.figures import EVERY_SURFACE, KEPT_S, POINTS_AT_MOST, STEP_S, Tallies

NOW = 1_000_000.0


def _count(tallies: Tallies, surface: str, at_s: float, seen: int, clicks: int) -> None:
    tally = tallies.of(surface, at_s)
    tally.slates += 2 * seen
    tally.places += 40 * seen
    tally.explored += 4 * seen
    tally.seen += seen
    tally.clicks += clicks
    tally.fallbacks["none"] += 2 * seen


def test_figures_are_of_the_time_and_the_surface_that_are_asked_for() -> None:
    tallies = Tallies(NOW - 2_000)
    _count(tallies, "home", NOW, 10, 4)
    _count(tallies, "product", NOW, 10, 1)
    _count(tallies, "home", NOW - 600, 20, 20)
    minute = tallies.figures(60, EVERY_SURFACE, NOW)
    assert (minute.seen, minute.rates.clicks, minute.rates.explored) == (20, 0.25, 0.1)
    assert minute.slates_per_second == pytest.approx(40 / 60)
    assert minute.fallbacks == {"none": 40}
    assert tallies.figures(60, "home", NOW).rates.clicks == 0.4
    assert tallies.figures(900, "home", NOW).rates.clicks == 0.8
    assert tallies.figures(60, "search", NOW).rates.clicks is None
    assert tallies.surfaces() == ["home", "product"]


@pytest.mark.parametrize("seconds", [60, 300, 900, 3_600])
def test_curve_covers_the_time_and_its_points_add_up(seconds: int) -> None:
    tallies = Tallies(NOW - 10_000)
    for at in range(0, KEPT_S, STEP_S):
        _count(tallies, "home", NOW - at, 1, at % 20 // 10)
    figures = tallies.figures(seconds, EVERY_SURFACE, NOW)
    assert figures.seen == seconds // STEP_S
    assert len(figures.times_s) == len(figures.curves["clicks"]) <= POINTS_AT_MOST
    assert figures.times_s[-1] >= NOW
    assert figures.times_s == sorted(set(figures.times_s))
    assert figures.covered_s == seconds


def test_what_is_older_than_an_hour_is_forgotten_and_a_young_console_says_how_long_it_counts() -> None:
    tallies = Tallies(NOW)
    _count(tallies, "home", NOW, 5, 5)
    assert tallies.figures(300, "", NOW + 12).covered_s == 12
    later = NOW + KEPT_S + STEP_S
    _count(tallies, "product", later, 1, 0)
    assert tallies.figures(KEPT_S, "", later).seen == 1
    assert tallies.surfaces() == ["product"]
