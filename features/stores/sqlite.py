"""Feast's online store on SQLite in which the newest row of an entity stands, whatever the order of arrival."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from feast import FeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from features.stores.packed import PackedOnlineStore, PackedRow

BUSY_TIMEOUT_S = 1.0  # for which a write waits for another one; then it counts as failed
# The low byte of an error's code says its kind (sqlite.org/rescode.html).
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
)


class NewestSqliteOnlineStoreConfig(FeastConfigBaseModel):
    """`path` is relative to the repo."""

    type: Literal["features.stores.sqlite.NewestSqliteOnlineStore"] = "features.stores.sqlite.NewestSqliteOnlineStore"
    path: str = "data/online_store.db"


class NewestSqliteOnlineStore(PackedOnlineStore):
    """One table a view, one row an entity. Thread-safe."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def where(self, config: RepoConfig) -> str:
        return f"SQLite at {self._path(config)}"

    def write_packed(self, config: RepoConfig, view: FeatureView, rows: Sequence[PackedRow]) -> None:
        with self._lock, self._connect(config) as connection:
            connection.executemany(
                f"INSERT INTO {_table(config, view)} VALUES (?, ?, ?) ON CONFLICT (entity_key) DO UPDATE "
                "SET event_time_us = excluded.event_time_us, content = excluded.content "
                "WHERE (excluded.event_time_us, excluded.content) > (event_time_us, content)",
                rows,
            )

    def read_packed(self, config: RepoConfig, view: FeatureView, keys: Sequence[bytes]) -> list[bytes | None]:
        select = f"SELECT content FROM {_table(config, view)} WHERE entity_key = ?"
        with self._lock:
            connection = self._connect(config)
            rows = [connection.execute(select, (key,)).fetchone() for key in keys]
        return [None if row is None else row[0] for row in rows]

    def is_away(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in _PASSING

    def create(self, config: RepoConfig, view: FeatureView) -> None:
        with self._lock, self._connect(config) as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {_table(config, view)} "
                "(entity_key BLOB PRIMARY KEY, event_time_us INTEGER NOT NULL, content BLOB NOT NULL)"
            )

    def drop(self, config: RepoConfig, view: FeatureView) -> None:
        with self._lock, self._connect(config) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {_table(config, view)}")

    def disconnect(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _path(self, config: RepoConfig) -> Path:
        path: str = config.online_store.path
        return Path(config.repo_path or ".") / path

    def _connect(self, config: RepoConfig) -> sqlite3.Connection:
        if self._connection is None:
            path = self._path(config)
            path.parent.mkdir(parents=True, exist_ok=True)
            # The lock is what keeps threads apart.
            connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            # Readers do not wait for the writer; what a power cut takes, the job's checkpoint brings back.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._connection = connection
        return self._connection


def _table(config: RepoConfig, view: FeatureView) -> str:
    name = f"{config.project}_{view.name}".replace('"', '""')
    return f'"{name}"'
