"""One file of client properties, for librdkafka and for Java."""

from pathlib import Path

import pytest

from features.errors import ClientPropertiesError
from streaming.config import Cluster
from streaming.kafka_client import for_java, for_librdkafka, user_of

SCRAM = r"""
# as for kafka-topics.sh --command-config
security.protocol = SASL_SSL
sasl.mechanism: SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
  username="rheostat" \
  password="a \\"quoted\\" = \\\\ word;";
ssl.truststore.type=PEM
ssl.truststore.location=/etc/ca.pem
ssl.endpoint.identification.algorithm=
"""


def cluster(tmp_path: Path, text: str) -> Cluster:
    file = tmp_path / "client.properties"
    file.write_text(text)
    return Cluster("b:1", client_properties=str(file))


def test_password_and_tls_are_said_to_both(tmp_path: Path) -> None:
    of_file = cluster(tmp_path, SCRAM)
    assert for_librdkafka(of_file) == {
        "bootstrap.servers": "b:1",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "rheostat",
        "sasl.password": 'a "quoted" = \\ word;',
        "ssl.ca.location": "/etc/ca.pem",
        "ssl.endpoint.identification.algorithm": "none",
    }
    assert user_of(of_file) == "the user rheostat"
    java = for_java(of_file)
    file = f"{tmp_path / 'client.properties'}"
    assert java["ssl.truststore.type"] == f"${{file:{file}:ssl.truststore.type}}"
    assert java["sasl.jaas.config"] == f"org.apache.flink.kafka.shaded.${{file:{file}:sasl.jaas.config}}"
    assert not [value for value in java.values() if "quoted" in value]  # no secret lies in the job graph


def test_certificate_is_said_to_both(tmp_path: Path) -> None:
    of_file = cluster(
        tmp_path, "security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location=me.pem\nssl.key.password=x"
    )
    assert for_librdkafka(of_file) == {
        "bootstrap.servers": "b:1",
        "security.protocol": "SSL",
        "ssl.certificate.location": "me.pem",
        "ssl.key.location": "me.pem",
        "ssl.key.password": "x",
    }
    assert user_of(of_file) == "the owner of the certificate"


def test_without_a_file_nothing_is_said() -> None:
    assert for_librdkafka(Cluster("b:1")) == {"bootstrap.servers": "b:1"}
    assert for_java(Cluster("b:1")) == {}
    assert user_of(Cluster("b:1")) == "an anonymous user"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("security.protocol=TLS", "security.protocol is TLS; expected one of PLAINTEXT, SSL"),
        ("sasl.mechanism=GSSAPI", "sasl.mechanism is GSSAPI; expected one of PLAIN, SCRAM-SHA-256"),
        ("ssl.truststore.location=a.jks", "ssl.truststore.type is JKS; expected PEM"),
        ("ssl.keystore.location=a.p12\nssl.keystore.type=PKCS12", "ssl.keystore.type is PKCS12; expected PEM"),
        ('sasl.jaas.config=X required username="u";', 'sasl.jaas.config: expected username="…" and password="…"'),
        ("max.poll.records=1", "max.poll.records: expected some of client.id"),
        ("a=\\u00zz", "cannot be read: "),
    ],
)
def test_properties_that_cannot_be_used_say_which_and_where(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ClientPropertiesError) as raised:
        for_java(cluster(tmp_path, text))
    assert words in str(raised.value)
    assert str(tmp_path / "client.properties") in str(raised.value)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClientPropertiesError, match=f"{tmp_path}/gone cannot be read: No such file"):
        for_librdkafka(Cluster("b:1", client_properties=f"{tmp_path}/gone"))
