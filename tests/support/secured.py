"""A broker that lets in whom it knows, and lets them do what docs/operate.md says they need, over TLS."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from infra.local.kafka import local_kafka
from infra.local.process import free_ports
from streaming.config import Cluster
from streaming.contract.rights import GROUPS, Rights
from streaming.io.topic_admin import create_topics

PREFIX = "secured."
PASSWORD = 'pass "word"'
PLAIN, SCRAM, CERTIFICATE = "PLAIN", "SCRAM-SHA-512", "certificate"
_MODULES = {PLAIN: "plain.PlainLoginModule", SCRAM: "scram.ScramLoginModule"}


@dataclass(frozen=True)
class Secured:
    """A broker, which its owner may ask without TLS."""

    owner: Cluster
    ports: Mapping[str, int]  # of SASL_SSL and of SSL, which wants a certificate
    folder: Path  # of keys, certificates and properties
    authority: trustme.CA

    def cluster(self, user: str, way: str, password: str = PASSWORD, authority: str = "ca.pem") -> Cluster:
        """Return the cluster as `user` reaches it: PLAIN, SCRAM or CERTIFICATE."""
        trusted = f"ssl.truststore.type=PEM\nssl.truststore.location={self.folder / authority}\n"
        file = self.folder / f"{user}-{way}.properties"
        if way == CERTIFICATE:
            key = self.folder / f"{user}.pem"
            key.write_bytes(pem(self.authority.issue_cert(f"{user}.test", common_name=user)))
            port = self.ports["SSL"]
            text = f"security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location={key}\n{trusted}"
        else:
            port = self.ports["SASL_SSL"]
            login = f'username="{user}" password="{_quoted(password)}"'.replace("\\", "\\\\")
            module = f"org.apache.kafka.common.security.{_MODULES[way]} required {login};"
            text = f"security.protocol=SASL_SSL\nsasl.mechanism={way}\nsasl.jaas.config={module}\n{trusted}"
        file.write_text(text)
        return Cluster(f"127.0.0.1:{port}", PREFIX, str(file))

    def grant(self, user: str, rights: Rights) -> None:
        """Let a user do what is said, and nothing else."""
        bindings = [_binding(ResourceType.TOPIC, PREFIX + topic, user, AclOperation.READ) for topic in rights.reads]
        bindings += [_binding(ResourceType.TOPIC, PREFIX + topic, user, AclOperation.WRITE) for topic in rights.writes]
        group = ResourcePatternType.PREFIXED
        bindings.append(_binding(ResourceType.GROUP, PREFIX + GROUPS, user, AclOperation.READ, group))
        admin = AdminClient({"bootstrap.servers": self.owner.bootstrap_servers})  # must outlive its futures
        for done in admin.create_acls(bindings).values():
            done.result(30)


def _binding(
    kind: ResourceType,
    name: str,
    user: str,
    operation: AclOperation,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def pem(certificate: trustme.LeafCert) -> bytes:
    """Return key and certificates as Kafka reads them: the key in PKCS#8."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    return key.private_bytes(*form) + chain


@contextlib.contextmanager
def secured_kafka(home: Path, plain_users: tuple[str, ...], scram_users: tuple[str, ...]) -> Iterator[Secured]:
    """Yield a broker with the topics; the users may do nothing yet."""
    folder = home / "keys"
    folder.mkdir(parents=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "another-ca.pem"))
    (folder / "server.pem").write_bytes(pem(authority.issue_cert("127.0.0.1")))
    ports = dict(zip(("SASL_SSL", "SSL"), free_ports(2), strict=True))
    with local_kafka(home / "kafka", ports, _settings(folder, plain_users)) as broker:
        owner = replace(broker.cluster, topic_prefix=PREFIX)
        create_topics(owner)
        admin = AdminClient({"bootstrap.servers": owner.bootstrap_servers})
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        users = [UserScramCredentialUpsertion(user, how, PASSWORD.encode()) for user in scram_users]
        for done in admin.alter_user_scram_credentials(users).values():
            done.result(30)
        yield Secured(owner, ports, folder, authority)


def _settings(folder: Path, plain_users: tuple[str, ...]) -> str:
    users = " ".join(f'user_{user}="{_quoted(PASSWORD)}"' for user in plain_users).replace("\\", "\\\\")
    modules = "org.apache.kafka.common.security"
    return f"""\
ssl.keystore.type=PEM
ssl.keystore.location={folder / "server.pem"}
ssl.truststore.type=PEM
ssl.truststore.location={folder / "ca.pem"}
listener.name.ssl.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/,DEFAULT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required {users};
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
