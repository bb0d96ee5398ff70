"""Feast's online store on a Cassandra that wants a password and a certificate over TLS."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from cassandra.auth import PlainTextAuthProvider
from support.records import feature_record, views
from support.secured import pem

from features.errors import OnlineStoreError
from features.stores.applied import feast_repo
from infra.local.cassandra import Node, local_cassandra
from streaming.io.online_store import OnlineStore
from streaming.records import now_ms

USER = PASSWORD = "cassandra"  # who is there from the start


class Store:
    """A node, and what it takes to be let in."""

    def __init__(self, node: Node, keys: Path) -> None:
        self._node, self._keys = node, keys

    def config(self) -> dict[str, object]:
        """Return the section `online_store` of a feature_store.yaml."""
        secured = {"username": USER, "password": PASSWORD, "ssl_ca": f"{self._keys / 'ca.pem'}"}
        return {**self._node.online_store, **secured, "ssl_certificate": f"{self._keys / 'client.pem'}"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("secured-cassandra")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(home / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(home / "another-ca.pem"))
    (home / "server.pem").write_bytes(pem(authority.issue_cert("127.0.0.1")))
    (home / "client.pem").write_bytes(pem(authority.issue_cert("client.test")))
    settings = f"""\
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: true
  ssl_context_factory: {{class_name: org.apache.cassandra.security.PEMBasedSslContextFactory}}
  keystore: {home / "server.pem"}
  truststore: {home / "ca.pem"}
"""
    context = ssl.create_default_context(cafile=str(home / "ca.pem"))
    context.load_cert_chain(str(home / "client.pem"))
    connection = {"ssl_context": context, "auth_provider": PlainTextAuthProvider(USER, PASSWORD)}
    with local_cassandra(home / "node", settings, connection) as node:
        yield Store(node, home)


def test_rows_are_written_and_read(store: Store, tmp_path: Path) -> None:
    writer = OnlineStore(feast_repo(tmp_path / "repo", store.config()), patience_s=30.0)
    try:
        writer.write([feature_record(views("safe", now_ms()))])
        (profile,) = writer.profiles(["safe"])
    finally:
        writer.close()
    assert profile.profile_state


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"password": "wrong"}, "lets the user not in"),
        ({"ssl_ca": "another-ca.pem"}, "there is no TLS with it"),
        ({"ssl_certificate": None}, "there is no TLS with it"),
    ],
    ids=["password", "authority", "certificate"],
)
def test_what_keeps_us_out_is_named_at_once(store: Store, tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    repo = feast_repo(tmp_path / "repo", store.config())
    file = repo / "feature_store.yaml"
    config = yaml.safe_load(file.read_text())
    if "ssl_ca" in changed:
        changed = {"ssl_ca": str(Path(config["online_store"]["ssl_ca"]).with_name(changed["ssl_ca"]))}
    file.write_text(yaml.safe_dump({**config, "online_store": config["online_store"] | changed}))
    writer = OnlineStore(repo, patience_s=600.0)
    try:
        with pytest.raises(OnlineStoreError, match=f"Cassandra at 127.0.0.1:[0-9]+, cannot be used: .*{words}"):
            writer.write([feature_record(views("kept-out", now_ms()))])
    finally:
        writer.close()
