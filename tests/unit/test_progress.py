"""How far a long work is, in a terminal and in a pipe."""

import io
import re
import time

from rich.console import Console

from features.progress import Bar

PATIENCE_S = 30.0


def run(printed: io.StringIO, console: Console) -> None:
    """Do half of a work, until something is said of it, and then the rest."""
    give_up = time.monotonic() + PATIENCE_S
    with Bar(console, silent_at_most_s=0.05) as bar:
        task = bar.add_task("lines [of] items.csv", total=2_000)
        bar.update(task, completed=1_000)
        while "1" not in printed.getvalue() and time.monotonic() < give_up:
            time.sleep(0.01)
        bar.update(task, completed=2_000)


def test_in_a_pipe_a_line_says_how_far_the_work_is() -> None:
    printed = io.StringIO()
    run(printed, Console(file=printed, width=20))
    lines = printed.getvalue().splitlines()
    assert lines
    assert all(re.fullmatch(r" +\d+ s  lines \[of\] items\.csv: 1,000 of 2,000", line) for line in lines)


def test_in_a_terminal_it_is_a_bar() -> None:
    printed = io.StringIO()
    run(printed, Console(file=printed, width=100, force_terminal=True))
    assert "━" in printed.getvalue()
    assert "2000/2000" in printed.getvalue()
    assert " s  " not in printed.getvalue()


def test_of_a_work_of_unknown_length_the_count_is_said() -> None:
    printed = io.StringIO()
    give_up = time.monotonic() + PATIENCE_S
    with Bar(Console(file=printed), silent_at_most_s=0.05) as bar:
        task = bar.add_task("reading", total=None)
        bar.advance(task, 7)
        while "reading" not in printed.getvalue() and time.monotonic() < give_up:
            time.sleep(0.01)
    assert "reading: 7\n" in printed.getvalue()
