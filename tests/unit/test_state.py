"""The time to live of keyed state."""

import subprocess
import sys

ASKS_FOR_ALL = """
from streaming.flink.state import time_to_live
cleanup = time_to_live(1_000, 7).get_cleanup_strategies()
assert not cleanup.is_cleanup_in_background()
assert cleanup.get_incremental_cleanup_strategy().get_cleanup_size() == 7
assert cleanup.get_rocksdb_compact_filter_cleanup_strategy().get_query_time_after_num_entries() == 1_000
import pyflink.java_gateway
assert pyflink.java_gateway._gateway is None
"""


def test_time_to_live_names_how_it_is_cleaned_up_and_starts_no_jvm() -> None:
    # What PyFlink asks of it in a TaskManager, where a gateway would be 89 MB and a fault where JAVA_HOME is not set.
    subprocess.run([sys.executable, "-c", ASKS_FOR_ALL], check=True, env={"PYFLINK_GATEWAY_DISABLED": "1"})
