"""What the console's page is built on is as its makers publish it, and the page loads nothing else."""

import hashlib
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "streaming" / "web" / "page"
VENDOR = PAGE / "vendor"
ROW = re.compile(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", re.MULTILINE)


def test_vendored_files_are_those_of_the_table() -> None:
    of = dict(ROW.findall((VENDOR / "README.md").read_text()))
    code = {file.name for file in VENDOR.iterdir() if file.suffix in (".js", ".css")}
    assert of.keys() == code
    for name, digest in of.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for file in PAGE.iterdir():
        if file.is_file():
            assert not re.search(r"""(src|href|from|import)\s*[=(]?\s*["'](https?:)?//""", file.read_text()), file.name
    loaded = re.findall(r"page/vendor/([\w.-]+)", (PAGE / "index.html").read_text())
    assert all((VENDOR / name).is_file() for name in loaded)
