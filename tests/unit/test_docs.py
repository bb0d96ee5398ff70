"""Pages that are made from the code are those of this code, and what others name is there."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from infra.docs import configuration
from infra.docs.topics import page
from streaming.cli.main import app
from streaming.contract.rights import rights_of
from streaming.contract.topics import CONTRACTS, JOBS
from streaming.schemas import Topic

ROOT = Path(__file__).parents[2]


def test_page_of_the_topics_is_current() -> None:
    assert set(CONTRACTS) == set(Topic)
    assert (ROOT / "docs/topics.md").read_text(encoding="utf-8") == page(), "make docs"


def test_page_of_the_configuration_is_current_and_says_what_each_key_does() -> None:
    page = configuration.page()
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == page, "make docs"
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_rights_that_the_docs_ask_for_are_those_that_the_jobs_need() -> None:
    page = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
    for job in JOBS:
        reads, writes = rights_of(job)
        assert f"| `{job}` | {names(reads)} | {names(writes)} |" in page


def names(topics: Sequence[Topic]) -> str:
    return ", ".join(f"`{topic}`" for topic in topics)


def test_every_field_of_every_topic_is_described() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `") and line.count(" | ") == 3]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


TOP = (ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING"))
PAGES = [*TOP, *sorted((ROOT / "docs").glob("*.md"))]
PATH = re.compile(r"`((?:streaming|features|onnx_models|export|infra|tests|docs)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_points_to_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = [ROOT / name for name in PATH.findall(text)] + [path.parent / name for name in LINK.findall(text)]
    assert [str(target) for target in named if not target.exists()] == []


COMMAND = re.compile(r"(?:`|^)rheostat ([^`\n#]+)", re.MULTILINE)
WITH_COMMANDS = [*PAGES, *(ROOT / "docs/benchmarks").glob("*.md")]


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: path.name)
def test_commands_of_a_page_have_the_options_that_it_names(path: Path) -> None:
    for text in COMMAND.findall(path.read_text(encoding="utf-8")):
        command: Any = get_command(app)
        words = re.sub(r"<[^>]*>", "X", text).split()
        for before, word in zip(["", *words], words, strict=False):
            if word.startswith("--") and word != "--help":
                assert word in {option for parameter in command.params for option in parameter.opts}, text
            elif hasattr(command, "get_command") and (below := command.get_command(None, word)) is not None:
                command = below
            else:
                assert before.startswith("--") or not hasattr(command, "get_command") or word == "--help", text


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    assert set(LINK.findall(index)) == {path.name for path in (ROOT / "docs/adr").glob("0*.md")}


def test_the_tree_is_what_one_finds() -> None:
    tree = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("```")[1]
    drawn = set(re.findall(r"([a-z0-9_]+)/", tree))
    for top in ("streaming", "features", "infra", "tests"):
        assert top in drawn
        folders = {
            path.name for path in (ROOT / top).iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
        }
        assert folders - drawn == set(), top
    nested = ("streaming", "features", "features/sources", "onnx_models", "infra", "tests")
    there = {path.name for folder in (".", *nested) for path in (ROOT / folder).iterdir() if path.is_dir()}
    assert drawn - there == set()
