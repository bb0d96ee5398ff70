"""Checkpoints and savepoints in object storage or HDFS, as Flink itself reaches them: by its plugins and settings."""

from collections.abc import Iterator
from typing import Any

from py4j.protocol import Py4JJavaError
from pyflink.common import Configuration
from pyflink.java_gateway import get_gateway

from features.errors import RestoreError, StorageError
from streaming.config import NEWEST
from streaming.flink.checkpoints import METADATA, location

DEPTH = 2  # CHECKPOINTS/JOB/chk-N, CHECKPOINTS/savepoints/savepoint-N: folders that have a METADATA
_NO_CHECKPOINTS = ("shared", "taskowned")  # of a job's folder


def load_plugins(configuration: Configuration) -> None:
    """Let this JVM use the file systems in the folders of `FLINK_PLUGINS_DIR`, as a cluster's processes do unasked."""
    jvm = get_gateway().jvm
    j_configuration = configuration._j_configuration
    plugins = jvm.org.apache.flink.core.plugin.PluginUtils.createPluginManagerFromRootFolder(j_configuration)
    jvm.org.apache.flink.core.fs.FileSystem.initialize(j_configuration, plugins)


def check_storage(folder: str) -> None:
    """Raise StorageError where Flink cannot reach a folder, given by its URI."""
    try:
        _file_system(folder).exists(_path(folder))
    except Py4JJavaError as error:
        raise StorageError(_why(folder, error)) from error


def checkpoint_elsewhere(restore: str, checkpoints: str | None) -> str:
    """Return the URI of the checkpoint or savepoint that a job starts from, which lies elsewhere.

    Args:
        restore: its URI, or NEWEST.
        checkpoints: URI of the job's own checkpoints and savepoints, in which the newest one is looked for.

    Raises:
        RestoreError: there is none.
        StorageError: its storage cannot be reached.
    """
    folder = location(checkpoints if restore == NEWEST and checkpoints is not None else restore)
    try:
        if restore == NEWEST:
            completed_ms = dict(_completed(_file_system(folder), _path(folder), DEPTH))
            if not completed_ms:
                msg = f"--restore {NEWEST}: no complete checkpoint below {folder}; leave --restore out to begin anew"
                raise RestoreError(msg)
            return max(completed_ms, key=lambda uri: completed_ms[uri])
        if not _file_system(folder).exists(_path(f"{folder.rstrip('/')}/{METADATA}")):
            msg = f"--restore: {folder} is neither a checkpoint nor a savepoint (it has no {METADATA})"
            raise RestoreError(msg)
    except Py4JJavaError as error:
        raise StorageError(_why(folder, error)) from error
    return folder


def _completed(file_system: Any, folder: Any, depth: int) -> Iterator[tuple[str, int]]:
    """Yield the complete checkpoints at most `depth` below a folder, and when each was completed."""
    if not file_system.exists(folder):
        return
    for status in file_system.listStatus(folder):
        path = status.getPath()
        if status.isDir():
            if depth and path.getName() not in _NO_CHECKPOINTS:
                yield from _completed(file_system, path, depth - 1)
        elif path.getName() == METADATA:
            yield folder.toString(), status.getModificationTime()


def _path(uri: str) -> Any:
    return get_gateway().jvm.org.apache.flink.core.fs.Path(uri)


def _file_system(uri: str) -> Any:
    return _path(uri).getFileSystem()


def _why(uri: str, error: Py4JJavaError) -> str:
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    said = str(cause.getMessage() or cause.toString()).splitlines()[0].partition(". ")[0]
    return (
        f"Flink cannot reach {uri}: {said}. Its plugin has a folder of its own in FLINK_PLUGINS_DIR, what that needs "
        "are settings of Flink's (-D s3.endpoint=…) and the environment's credentials: docs/operate.md"
    )
