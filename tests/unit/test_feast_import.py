"""Feast comes without the checks that would take most of its import, wherever a process of ours imports it."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys, typeguard
from pathlib import Path
{imports}

CHECKED = "check_argument_types_internal"  # what typeguard puts into a function that it rewrites
from feast import FeatureView
print(CHECKED in FeatureView.__init__.__code__.co_names)

@typeguard.typechecked
def theirs(number: int) -> int:
    return number
print(CHECKED in theirs.__code__.co_names)
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import features.stores.packed",
        "import streaming.io.online_store",
        "from features.stores.applied import feast_repo; feast_repo(Path(sys.argv[1]) / 'repo')",
    ],
)
def test_feast_is_imported_unchecked_and_typeguard_left_as_it_was(imports: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"  # typeguard reads the source of what it rewrites
    script.write_text(CODE.format(imports=imports), encoding="utf-8")
    ran = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.split()) == (0, ["False", "True"]), ran.stderr
