"""Real data beside the checkout. Without them a test is skipped and says so; in CI it fails."""

import os
from pathlib import Path

import pytest

JDATA = Path(__file__).parents[3] / "shared" / "data" / "jdata_micro"
HAS_JDATA = JDATA.is_dir() or bool(os.environ.get("CI"))
needs_jdata = pytest.mark.skipif(not HAS_JDATA, reason=f"no JData sample in {JDATA}")
