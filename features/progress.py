"""How far a long work is: a bar in a terminal, elsewhere a line every 10 s."""

import threading

from rich import get_console
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SILENT_AT_MOST_S = 10.0


class Bar(Progress):
    """Rich's progress, which outside a terminal would say nothing before the end.

    Args:
        console: where it is shown; None: on standard output.
        transient: whether the bar goes when the work is done.
        silent_at_most_s: without a terminal.
    """

    def __init__(
        self, console: Console | None = None, *, transient: bool = False, silent_at_most_s: float = SILENT_AT_MOST_S
    ) -> None:
        console = console or get_console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        super().__init__(*columns, console=console, transient=transient, disable=not console.is_terminal)
        self._silent_at_most_s = silent_at_most_s
        self._over = threading.Event()

    def start(self) -> None:
        super().start()
        if self.disable:
            self._over.clear()
            self._saying = threading.Thread(target=self._say, daemon=True)
            self._saying.start()

    def stop(self) -> None:
        super().stop()
        if self.disable:
            self._over.set()
            self._saying.join()

    def _say(self) -> None:
        while not self._over.wait(self._silent_at_most_s):
            for task in self.tasks:
                if not task.finished:
                    of = "" if task.total is None else f" of {task.total:,.0f}"
                    line = f"{task.elapsed or 0:3.0f} s  {task.description}: {task.completed:,.0f}{of}"
                    self.console.print(line, markup=False, highlight=False, soft_wrap=True)
