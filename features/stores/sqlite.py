"""Feast's online store on SQLite in which the newest row of an entity stands, whatever the order of arrival."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from features.stores.packed import Found, PackedRow, Row, pack_rows, unpack, value_makers

BUSY_TIMEOUT_S = 1.0  # for which a write waits for another one; then it counts as failed


class NewestSqliteOnlineStoreConfig(FeastConfigBaseModel):
    """`path` is relative to the repo."""

    type: Literal["features.stores.sqlite.NewestSqliteOnlineStore"] = "features.stores.sqlite.NewestSqliteOnlineStore"
    path: str = "data/online_store.db"


class NewestSqliteOnlineStore(OnlineStore):
    """One table a view, one row an entity. Thread-safe."""

    away_errors: tuple[type[Exception], ...] = (sqlite3.OperationalError,)

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def where(self, config: RepoConfig) -> str:
        """Return what an operator calls this store."""
        return f"SQLite at {self._path(config)}"

    def write_packed(self, config: RepoConfig, view: FeatureView, rows: Sequence[PackedRow]) -> None:
        """Write `rows`, of which an older one than what is there changes nothing."""
        with self._lock, self._connect(config) as connection:
            connection.executemany(
                f"INSERT INTO {_table(config, view)} VALUES (?, ?, ?) ON CONFLICT (entity_key) DO UPDATE "
                "SET event_time_us = excluded.event_time_us, content = excluded.content "
                "WHERE (excluded.event_time_us, excluded.content) > (event_time_us, content)",
                rows,
            )

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        self.write_packed(config, table, pack_rows(config, data))
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Found]:
        keys = [serialize_entity_key(each, config.entity_key_serialization_version) for each in entity_keys]
        select = f"SELECT content FROM {_table(config, table)} WHERE entity_key = ?"
        with self._lock:
            connection = self._connect(config)
            found = [connection.execute(select, (key,)).fetchone() for key in keys]
        return [unpack(table, None if row is None else row[0], requested_features) for row in found]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        with self._lock, self._connect(config) as connection:
            for view in tables_to_keep:
                value_makers(view)  # what cannot be kept is better said now
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {_table(config, view)} "
                    "(entity_key BLOB PRIMARY KEY, event_time_us INTEGER NOT NULL, content BLOB NOT NULL)"
                )
            for view in tables_to_delete:
                connection.execute(f"DROP TABLE IF EXISTS {_table(config, view)}")

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        self.disconnect()
        self._path(config).unlink(missing_ok=True)

    def disconnect(self) -> None:
        """Let the connection go; the next call makes a new one."""
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
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            # Readers do not wait for the writer; what a power cut takes, the job's checkpoint brings back.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return self._connection


def _table(config: RepoConfig, view: FeatureView) -> str:
    name = f"{config.project}_{view.name}".replace('"', '""')
    return f'"{name}"'
