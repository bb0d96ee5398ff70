"""What a page has in TypeScript, by its compiler, on a real broker and the HTTP door; and AsyncAPI by its parser."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.app import prints
from support.shop_front import ITEMS
from support.stream import Stream

from features.sources.simulator import shop
from infra.local.door import local_door
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.io.topics import read_topic
from streaming.schemas import Topic

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "tests" / "typescript"
ARTIFACT = ROOT / "onnx_models" / "artifacts" / "generator"
pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None and not os.environ.get("CI"), reason="no node on the PATH (Debian: apt-get install npm)"
)


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def project(folder: Path, *options: str) -> Path:
    """Return a copy of the project with what its lock names."""
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("node_modules"))
    run("npm", "ci", *options, folder=folder)
    return folder


@pytest.mark.nightly  # tests/unit/test_contract.py holds the messages against the document
def test_asyncapi_is_valid(tmp_path: Path) -> None:
    folder, document = project(tmp_path / "parser"), ROOT / "docs" / "asyncapi.json"
    assert run("node", "asyncapi.mjs", document, folder=folder).splitlines()[-1] == f"{len(Topic)} channels"
    broken = tmp_path / "broken.json"
    broken.write_text(document.read_text(encoding="utf-8").replace('"action": "send"', '"action": "shout"'))
    with pytest.raises(AssertionError, match="operations"):
        run("node", "asyncapi.mjs", broken, folder=folder)


@pytest.fixture
def door(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    with Feed(cluster) as feed:
        feed.items(shop.items())
    with closing(Stream(cluster)), local_door(tmp_path, cluster, ARTIFACT, "--timeout-ms", "10000") as serving:
        yield serving.url


def test_the_lines_of_the_page_compile_and_run(tmp_path: Path, door: str, cluster: Cluster) -> None:
    page = (ROOT / "docs" / "consume.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"```ts\n(.+?)```", page, re.DOTALL))
    for named, of_test in (
        ("http://127.0.0.1:8780", door),
        ("127.0.0.1:9092", cluster.bootstrap_servers),
        ('"recommendations"', f'"{cluster.topic(Topic.RECOMMENDATIONS)}"'),
    ):
        assert named in lines
        lines = lines.replace(named, of_test)
    folder = project(tmp_path / "app", "--omit=dev")
    (folder / "example.ts").write_text(lines)
    run("npx", "tsc", folder=folder)
    *before, last = prints(["node", "--no-warnings", "example.js"], "s-1 ", cluster, "s-1", folder)
    asked = re.findall(r"'(i\d+)'", before[0])
    assert (len(asked), asked[1] in ("i001", "i002"), ITEMS[asked[2]].category) == (4, True, "tea"), before
    assert asked[3] in ("i003", "i004")
    assert ITEMS.keys() >= {*last.split()[1:]} != set()
    (shown,) = [json.loads(raw or b"") for _, _, raw in read_topic(cluster, Topic.IMPRESSIONS)]
    assert shown["items"][0] == asked[0]
