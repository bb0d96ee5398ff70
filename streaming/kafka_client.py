"""One file of client properties, in the form of Kafka's own `--command-config`, for every client here, Java's and ours.

    security.protocol=SASL_SSL
    sasl.mechanism=SCRAM-SHA-512
    sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="u" password="p";
    ssl.truststore.type=PEM
    ssl.truststore.location=/etc/kafka/ca.pem

It is read where a client is made, so that what it says is in no job graph, and a new password needs a restart alone.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import javaproperties

from features.errors import ClientPropertiesError
from streaming.config import Cluster

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SHADED = "org.apache.flink.kafka.shaded."  # before the names of Kafka's classes in Flink's connector
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT")
_LOGIN = re.compile(r'\b(username|password)\s*=\s*"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
# By librdkafka's names; the others are read below.
_SAME = {
    "security.protocol": "security.protocol",
    "sasl.mechanism": "sasl.mechanism",
    "client.id": "client.id",
    "ssl.key.password": "ssl.key.password",
    "ssl.truststore.location": "ssl.ca.location",
    "ssl.truststore.certificates": "ssl.ca.pem",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
}
_READ = ("sasl.jaas.config", "ssl.truststore.type", "ssl.keystore.type", "ssl.keystore.location")
_IDENTIFICATION = "ssl.endpoint.identification.algorithm"


def for_librdkafka(cluster: Cluster) -> dict[str, str]:
    """Return what every confluent_kafka client of the cluster is made with.

    Raises:
        ClientPropertiesError: the file is not there, or says what librdkafka cannot do.
    """
    settings = {"bootstrap.servers": cluster.bootstrap_servers}
    given = _given(cluster)
    for key, value in given.items():
        if key in _SAME:
            settings[_SAME[key]] = value
    if "sasl.jaas.config" in given:
        login = dict(_LOGIN.findall(given["sasl.jaas.config"]))
        if login.keys() != {"username", "password"}:
            msg = f'{cluster.client_properties}: sasl.jaas.config: expected username="…" and password="…" in it'
            raise ClientPropertiesError(msg)
        settings |= {f"sasl.{name}": _ESCAPED.sub(r"\1", value) for name, value in login.items()}
    if location := given.get("ssl.keystore.location"):
        settings |= {"ssl.certificate.location": location, "ssl.key.location": location}
    if _IDENTIFICATION in given:
        settings[_IDENTIFICATION] = given[_IDENTIFICATION] or "none"
    return settings


def for_java(cluster: Cluster) -> dict[str, str]:
    """Return what Flink's Kafka connector is given beside the bootstrap servers: for each property where it stands.

    Raises:
        ClientPropertiesError: as above.
    """
    given = _given(cluster)
    if not given:
        return {}
    for_librdkafka(cluster)  # what one of them cannot use is refused for both
    provider = f"{SHADED}org.apache.kafka.common.config.provider.FileConfigProvider"
    path = Path(cluster.client_properties).resolve()
    read = {key: f"${{file:{path}:{key}}}" for key in given if key != "sasl.jaas.config"}
    if "sasl.jaas.config" in given:
        read["sasl.jaas.config"] = f"{SHADED}${{file:{path}:sasl.jaas.config}}"
    return {"config.providers": "file", "config.providers.file.class": provider, **read}


def user_of(cluster: Cluster) -> str:
    """Return who the cluster is asked as, in words."""
    settings = for_librdkafka(cluster)
    if "sasl.username" in settings:
        return f"the user {settings['sasl.username']}"
    if "ssl.certificate.location" in settings or "ssl.certificate.pem" in settings:
        return "the owner of the certificate"
    return "an anonymous user"


def _given(cluster: Cluster) -> Mapping[str, str]:
    if not cluster.client_properties:
        return {}
    path = Path(cluster.client_properties)
    try:
        with path.open(encoding="utf-8") as file:
            given: dict[str, str] = javaproperties.load(file)
    except (OSError, ValueError) as error:
        msg = f"the client properties {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ClientPropertiesError(msg) from error
    for what, allowed in (("security.protocol", _PROTOCOLS), ("sasl.mechanism", MECHANISMS)):
        if given.get(what, allowed[0]) not in allowed:
            msg = f"{path}: {what} is {given[what]}; expected one of {', '.join(allowed)}"
            raise ClientPropertiesError(msg)
    for kind in ("truststore", "keystore"):
        if given.get(f"ssl.{kind}.location") and given.get(f"ssl.{kind}.type", "JKS") != "PEM":
            msg = (
                f"{path}: ssl.{kind}.type is {given.get(f'ssl.{kind}.type', 'JKS')}; expected PEM, which all clients "
                "read: `keytool -importkeystore -deststoretype PKCS12`, then `openssl pkcs12 -nodes`, make one"
            )
            raise ClientPropertiesError(msg)
    if unknown := given.keys() - _SAME.keys() - set(_READ) - {_IDENTIFICATION}:
        known = ", ".join(sorted({*_SAME, *_READ, _IDENTIFICATION}))
        msg = f"{path}: {', '.join(sorted(unknown))}: expected some of {known}"
        raise ClientPropertiesError(msg)
    return given
