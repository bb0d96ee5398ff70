"""What slates bring while the stream runs, window by window: how one sees the loop close."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from features.sources.simulator.shop import ExpectedReward

BAR = 30  # characters
SHARE_SHOWN = 0.1  # of a bar as long


class Look(NamedTuple):
    """A slate that was looked at: before which interaction, what it brings on average, and what it shows."""

    number: int
    prospect: ExpectedReward
    items: tuple[str, ...]


class Window(NamedTuple):
    """What was looked at within some interactions."""

    until: int  # interactions
    looks: int
    of_best: float  # clicks on average, of what slates of the items liked best at those moments would bring
    share: float  # of the places, of one merchant


def by_window(looks: Sequence[Look], count: int, windows: int, merchants_items: Collection[str]) -> list[Window]:
    """Return what `windows` parts of `count` interactions have brought; those without a look are left out."""
    by_time = []
    for n in range(1, windows + 1):
        first, until = count * (n - 1) // windows, count * n // windows
        of_window = [look for look in looks if first <= look.number < until]
        if of_window:
            clicks, best = (
                sum(look.prospect.clicks for look in of_window),
                sum(look.prospect.best_clicks for look in of_window),
            )
            shown = [item_id in merchants_items for look in of_window for item_id in look.items]
            by_time.append(Window(until, len(of_window), clicks / best, sum(shown) / len(shown)))
    return by_time


def show(windows: Sequence[Window], rate: float, merchant: str, events: dict[int, str], console: Console) -> None:
    """Print the windows; `events` says what happened before the interaction of that number."""
    console.print(
        "\nThe loop closes: clicks that the slates have, of those that the best slates would have (what each "
        f"shopper likes best at that moment, which no recommender can know), and {merchant}'s share of what is shown",
        soft_wrap=True,
    )
    table, first = _table(), 0
    for window in windows:
        happened = [words for number, words in events.items() if first <= number < window.until]
        if happened:
            console.print(table)
            table = _table()
            console.print(*[f"  {words}" for words in happened], sep="\n", style="italic", highlight=False)
        bars = Bar(1.0, 0.0, window.of_best, width=BAR), Bar(SHARE_SHOWN, 0.0, window.share, width=BAR // 2)
        table.add_row(f"{window.until / rate:.0f} s", f"{window.of_best:.1%}", bars[0], f"{window.share:.1%}", bars[1])
        first = window.until
    console.print(table)


def _table() -> Table:
    table = Table.grid(padding=(0, 1))
    for width in (6, 6, BAR + 1, 6, BAR // 2):
        table.add_column(width=width, justify="right" if width == 6 else "left")
    return table
