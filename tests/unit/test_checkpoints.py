"""Where a job starts, while the folder changes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming.flink import checkpoints


def checkpoint(folder: Path, completed_s: int) -> Path:
    folder.mkdir(parents=True)
    (folder / checkpoints.METADATA).touch()
    os.utime(folder / checkpoints.METADATA, (completed_s, completed_s))
    return folder


def test_complete_checkpoints_are_told_oldest_first(tmp_path: Path) -> None:
    newer, older = checkpoint(tmp_path / "a" / "chk-2", 20), checkpoint(tmp_path / "b" / "chk-1", 10)
    (tmp_path / "a" / "chk-3").mkdir()
    assert checkpoints.complete_checkpoints(tmp_path) == [older, newer]
    assert checkpoints.newest_checkpoint(tmp_path) == newer
    assert not checkpoints.has_checkpoint(tmp_path / "a" / "chk-3")


def test_checkpoint_that_is_deleted_meanwhile_is_not_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = checkpoint(tmp_path / "a" / "chk-1", 10), checkpoint(tmp_path / "a" / "chk-2", 20)
    walk = os.walk

    def deleted_meanwhile(*arguments: Any) -> Iterator[Any]:
        for below in walk(*arguments):
            if below[0] == str(gone):
                (gone / checkpoints.METADATA).unlink()
            yield below

    monkeypatch.setattr(os, "walk", deleted_meanwhile)
    assert checkpoints.complete_checkpoints(tmp_path) == [kept]
