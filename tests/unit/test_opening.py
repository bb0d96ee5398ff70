"""An operator opens while the thread of another one, in the same interpreter, is in the middle of an import."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from streaming.flink.bundles import opening

OPERATOR = """
from dataclasses import dataclass

@dataclass
class Operator:
    parallelism: int = 1

    def open(self):
        print("open")
"""
# Another thread begins to import `typing` and goes on only when this one waits for it, or has come to its end.
BESIDE_AN_IMPORT = """
import importlib._bootstrap, sys, threading, time
from importlib.machinery import PathFinder

class Slow:
    def find_spec(self, name, path, target=None):
        if name != "typing":
            return None
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        def slowly(module):
            began.set()
            go_on.wait()
            load(module)
        spec.loader.exec_module = slowly
        return spec

began, go_on = threading.Event(), threading.Event()
for name in ("typing", "dataclasses"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Slow())
threading.Thread(target=lambda: __import__("typing")).start()
began.wait()
opens = threading.Thread(target=exec, args=(sys.argv[1], {}))
opens.start()
while opens.is_alive() and opens.ident not in importlib._bootstrap._blocking_on:
    time.sleep(0.01)
go_on.set()
opens.join()
"""


def test_an_operator_opens_while_another_thread_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "operator_of_a_test.py").write_text(OPERATOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    begins = opening(import_module("operator_of_a_test").Operator())
    ran = subprocess.run(
        [sys.executable, "-c", BESIDE_AN_IMPORT, begins], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == ("open\n", "")
