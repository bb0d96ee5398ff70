"""Python's garbage collector in a job: what has been loaded stays, and what a batch makes is gone with it."""

import gc

# New objects between two collections. A batch has Python's 700 many times over: its records live until its end, would
# be walked through at each, and none of them is in a cycle.
_NEW_OBJECTS = 50_000


def keep_loaded() -> None:
    """Take all that lives now out of the collector's sight, and let it look at a batch's objects seldom.

    A full collection walks through whatever lives, libraries and the catalogue among it, and no record is answered
    meanwhile: 80 ms in a shop of 2,000 items, 130 ms in one of 100,000 (docs/benchmarks/journal.md).
    """
    gc.unfreeze()  # what an earlier job or attempt in this process has left
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
