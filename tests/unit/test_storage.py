"""Paths of this machine, and those that a URI names."""

from pathlib import Path

import polars as pl
import pytest

from features.errors import StorageError
from streaming import storage


@pytest.mark.parametrize("text", ["a/b", "/a/b", "file:///a/b"])
def test_what_lies_here_is_a_path(text: str) -> None:
    path = storage.path_of(text)
    assert isinstance(path, Path)
    assert str(path) == text.removeprefix("file://")
    assert storage.is_here(path)


def test_what_lies_elsewhere_does_what_a_path_does() -> None:
    folder = storage.path_of("memory://log")  # fsspec's own storage in memory
    assert not storage.is_here(folder)
    storage.make_folder(folder)
    for name in ("b", "a"):
        storage.write_parquet(folder / f"date={name}" / "0-0-9.parquet", pl.DataFrame({"of": [name]}))
    files = sorted(folder.glob("date=*/*.parquet"), key=str)
    assert storage.read_parquet(files)["of"].to_list() == ["a", "b"]


def test_file_here_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    storage.make_folder(tmp_path / "new")
    storage.write_whole(tmp_path / "new" / "of.json", b"{}")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["of.json"]


def test_storage_that_nobody_knows_is_named() -> None:
    with pytest.raises(StorageError, match="nowhere://x cannot be read or written"):
        storage.path_of("nowhere://x")
