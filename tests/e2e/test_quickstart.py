"""docs/quickstart.md, from its first command to its last, as a newcomer types them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infra.local.process import free_ports
from streaming.control.policies import stamped
from streaming.io.item_file import open_items
from streaming.policy.check import validate
from streaming.policy.table import PolicyTable
from streaming.schemas import Item

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
DOOR = "127.0.0.1:8780"
SET_UP = ("make setup", "export PATH")


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [re.sub(r" {2,}#.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(SET_UP)]


def test_what_the_page_ships_is_accepted() -> None:
    assert len(commands()) > 12
    campaign = yaml.safe_load((ROOT / "docs/quickstart/campaign.yaml").read_text(encoding="utf-8"))
    assert validate(stamped(campaign, PolicyTable().version, "me"), 1, ()) is None
    columns = {"item_id": "sku", "name": "title", "category": "group"}
    items = list(open_items(ROOT / "docs/quickstart/products.csv", columns).items())
    assert len(items) == 5
    assert all(isinstance(item, Item) and item.content for item in items), items


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    for name in ("docs", "onnx_models"):  # what the commands name, in a folder where nothing else runs
        (tmp_path / name).symlink_to(ROOT / name)
    (port,) = free_ports(1)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RHEOSTAT_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = kept | {"PATH": path, "RHEOSTAT_UP_PORT": f"{port}"}

    def type_in(command: str) -> str:
        line = ["bash", "-c", command.replace(DOOR, f"127.0.0.1:{port}")]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    *others, last = commands()
    assert last == "rheostat down"
    try:
        said = [(command, type_in(command)) for command in others]
    finally:
        type_in(last)
    before, after, teas, turned = [json.loads(words) for command, words in said if "/v1/recommend" in command]
    assert (before["fallback"], after["fallback"]) == ("empty_session", "none")
    assert {"shop-1", "shop-2", "shop-3"} < {place["item_id"] for place in teas["slate"]}
    assert (after["policy_version"], turned["policy_version"], turned["policy_scope"]) == (1, 2, "surface:home")
    (experiment,) = [words for command, words in said if command.startswith("rheostat experiment")]
    assert "shoppers with the experiment's policy" in " ".join(experiment.split())
