"""Real data beside the checkout. Without them a test is skipped and says so; in CI it fails."""

import os
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"
JDATA = DATA / "jdata_micro"
HAS_DATA = DATA.is_dir() or bool(os.environ.get("CI"))
needs_data = pytest.mark.skipif(not HAS_DATA, reason=f"no public logs in {DATA}")
