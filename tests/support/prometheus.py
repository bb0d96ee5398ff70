"""Prometheus, where the machine's packages are Debian's. Without it a test is skipped and says so; in CI it fails."""

import os

import pytest

from infra.local.prometheus import BINARIES

needs_prometheus = pytest.mark.skipif(
    not BINARIES.is_dir() and not os.environ.get("CI"), reason="no Prometheus (`make prometheus`, on Debian)"
)
