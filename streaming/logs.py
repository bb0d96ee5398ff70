"""What processes say, as lines of JSON where `RHEOSTAT_LOG_FORMAT=json` is in their environment.

The fields are those of Elastic's Common Schema, as Flink's Log4j writes them with EcsLayout: one parser for both. None
has what a shopper is called: messages name items, topics and offsets.
"""

import logging
import os
import sys
from datetime import UTC, datetime
from typing import NoReturn

import msgspec

FORMAT_VARIABLE = "RHEOSTAT_LOG_FORMAT"
JSON = "json"


class EcsFormatter(logging.Formatter):
    """Elastic's Common Schema, a line a record."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {
            "@timestamp": at,
            "log.level": record.levelname,
            "message": record.getMessage(),
            "process.thread.name": record.threadName,
            "log.logger": record.name,
        }
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields["error.type"] = type(record.exc_info[1]).__name__
            fields["error.message"] = str(record.exc_info[1])
            fields["error.stack_trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


def is_json() -> bool:
    return os.environ.get(FORMAT_VARIABLE) == JSON


def configure() -> None:
    """Write what this process logs as the environment says."""
    if not is_json():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(EcsFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def tell(name: str, words: str) -> None:
    """Say something that is no fault, on stdout."""
    record = logging.LogRecord(name, logging.INFO, "", 0, words, None, None)
    sys.stdout.write(f"{EcsFormatter().format(record) if is_json() else f'{name} {words}'}\n")


def end(name: str, words: str) -> NoReturn:
    """Say why a process ends, and end it."""
    if not is_json():
        sys.exit(f"{name}: {words}")
    sys.stderr.write(f"{EcsFormatter().format(logging.LogRecord(name, logging.ERROR, '', 0, words, None, None))}\n")
    sys.exit(1)
