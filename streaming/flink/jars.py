"""The Java that goes with the jobs: Flink's Kafka connector and ours, in a wheel as in a checkout."""

from pathlib import Path

from features.errors import JarsError

FOLDER = Path(__file__).parent / "java"  # where `make setup` puts them
_NAMES = ("flink-sql-connector-kafka-*.jar", "rheostat-connector.jar")


def job_jars() -> list[Path]:
    """Return the jars that every job is started with.

    Raises:
        JarsError: one is not there; the message says what to run.
    """
    jars = [jar for name in _NAMES for jar in FOLDER.glob(name)]
    if len(jars) != len(_NAMES):
        found = ", ".join(jar.name for jar in jars) or "nothing"
        msg = f"the jars of the jobs are not in {FOLDER} (found: {found}); in a checkout `make setup` puts them there"
        raise JarsError(msg)
    return jars
