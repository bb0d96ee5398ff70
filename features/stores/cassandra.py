"""Feast's online store on Cassandra in which the newest row of an entity stands, whatever the order of arrival.

A row is one cell, written `USING TIMESTAMP` of its event time, so that Cassandra itself keeps the newest. Of two cells
with one timestamp it keeps the greater value, and a value begins with its created time.
"""

import contextlib
import ssl
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

from cassandra import AuthenticationFailed, DriverException, RequestValidationException, Unauthorized
from cassandra.cluster import Cluster, NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import ConstantReconnectionPolicy
from feast import FeatureView
from feast.infra.online_stores.cassandra_online_store import cassandra_online_store as feasts
from feast.infra.online_stores.cassandra_online_store.cassandra_online_store import (
    CassandraOnlineStore,
    CassandraOnlineStoreConfig,
)
from feast.repo_config import RepoConfig

from features.stores.packed import PackedOnlineStore, PackedRow

RECONNECT_S = 1.0
_lock = threading.Lock()
TYPE: Literal["features.stores.cassandra.NewestCassandraOnlineStore"] = (
    "features.stores.cassandra.NewestCassandraOnlineStore"
)


class NewestCassandraOnlineStoreConfig(CassandraOnlineStoreConfig):
    """As Feast's own; the keyspace must exist."""

    type: Literal["features.stores.cassandra.NewestCassandraOnlineStore"] = TYPE  # type: ignore[assignment]
    ssl_ca: str | None = None  # PEM file of the authorities of the nodes' certificates; with it TLS is spoken
    ssl_certificate: str | None = None  # PEM file of our own certificate, and of its key if `ssl_key` is not another
    ssl_key: str | None = None
    ssl_check_hostname: bool = True  # that a node's certificate is its address's
    request_timeout: float | None = 10.0  # seconds; Feast's own is none where load_balancing is set, and waits for ever


@contextlib.contextmanager
def _over_tls(config: NewestCassandraOnlineStoreConfig) -> Iterator[None]:
    """Let the cluster that Feast makes meanwhile speak TLS, if it is asked for: Feast has no option for that."""
    if config.ssl_ca is None:
        with _lock:  # not while another store's is over TLS
            yield
        return
    context = ssl.create_default_context(cafile=config.ssl_ca)
    context.check_hostname = config.ssl_check_hostname
    if config.ssl_certificate is not None:
        context.load_cert_chain(config.ssl_certificate, config.ssl_key)
    with _lock:
        feasts.Cluster = partial(Cluster, ssl_context=context)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            feasts.Cluster = Cluster  # type: ignore[attr-defined]


class NewestCassandraOnlineStore(PackedOnlineStore, CassandraOnlineStore):
    """One table a view, one row an entity; connection and configuration are Feast's own."""

    def __init__(self) -> None:
        self._prepared_statements = {}  # Feast's own is shared by all stores of a process

    def where(self, config: RepoConfig) -> str:
        return f"Cassandra at {', '.join(config.online_store.hosts or ())}:{config.online_store.port or 9042}"

    def write_packed(self, config: RepoConfig, view: FeatureView, rows: Sequence[PackedRow]) -> None:
        execute_concurrent_with_args(
            self._get_session(config),
            self._prepare(
                config, f"INSERT INTO {self._table(config, view)} (entity_key, content) VALUES (?, ?) USING TIMESTAMP ?"
            ),
            [(key, content, event_time_us) for key, event_time_us, content in rows],
            concurrency=config.online_store.write_concurrency,
            execution_profile=self._write_execution_profile,
        )

    def read_packed(self, config: RepoConfig, view: FeatureView, keys: Sequence[bytes]) -> list[bytes | None]:
        # Unlike in Feast's own store a read that fails raises: a shopper who is not there is another thing.
        results = execute_concurrent_with_args(
            self._get_session(config),
            self._prepare(config, f"SELECT content FROM {self._table(config, view)} WHERE entity_key = ?"),
            [(key,) for key in keys],
            concurrency=config.online_store.read_concurrency,
            execution_profile=self._read_execution_profile,
        )
        return [None if (row := rows.one()) is None else row.content for _, rows in results]

    def is_away(self, error: Exception) -> bool:
        passing = isinstance(error, NoHostAvailable | DriverException)
        return passing and self.refusal(error) is None and not isinstance(error, RequestValidationException)

    def refusal(self, error: Exception) -> str | None:
        # Where no node can be used, each has its reason.
        for why in error.errors.values() if isinstance(error, NoHostAvailable) else [error]:
            if isinstance(why, AuthenticationFailed | Unauthorized):
                return f"it lets the user not in, or not do that ({why})"
            if isinstance(why, OSError) and "[SSL" in str(why):  # the driver makes another error of ssl.SSLError
                return f"there is no TLS with it ({why}): are ssl_ca and ssl_certificate right?"
        return None

    def create(self, config: RepoConfig, view: FeatureView) -> None:
        self._get_session(config).execute(
            f"CREATE TABLE IF NOT EXISTS {self._table(config, view)} (entity_key blob PRIMARY KEY, content blob)"
        )

    def drop(self, config: RepoConfig, view: FeatureView) -> None:
        self._get_session(config).execute(f"DROP TABLE IF EXISTS {self._table(config, view)}")

    def disconnect(self) -> None:
        if self._cluster:
            self._cluster.shutdown()
        self._cluster = self._session = None
        self._prepared_statements.clear()

    def _get_session(self, config: RepoConfig) -> Session:
        if not self._session:
            try:
                with _over_tls(config.online_store):
                    super()._get_session(config)
            except Exception:
                self.disconnect()  # a cluster that could not be reached keeps threads of its own
                raise
            # The driver's own waits twice as long after each failure, up to ten minutes.
            self._cluster.reconnection_policy = ConstantReconnectionPolicy(RECONNECT_S, max_attempts=None)
        return self._session

    def _prepare(self, config: RepoConfig, statement: str) -> Any:
        if statement not in self._prepared_statements:
            self._prepared_statements[statement] = self._get_session(config).prepare(statement)
        return self._prepared_statements[statement]

    def _table(self, config: RepoConfig, view: FeatureView) -> str:
        return self._fq_table_name(config.online_store.keyspace, config.project, view)
