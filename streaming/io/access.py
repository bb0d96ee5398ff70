"""Whether a cluster lets us in, and does what we need: said before the work begins, and by name."""

import contextlib
import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]

from features.errors import AccessError, TopicError
from streaming.config import Cluster
from streaming.kafka_client import for_librdkafka, user_of
from streaming.schemas import Topic

TIMEOUT_S, REFUSED_S = 10.0, 5.0
DENIED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
REMEDY = "docs/operate.md has the rights of each job"


def check_access(cluster: Cluster, reads: Iterable[Topic], writes: Iterable[Topic], group: str) -> None:
    """Raise what is missing, all of it at once.

    Args:
        cluster: that is asked.
        reads: topics that are read.
        writes: topics that are written.
        group: consumer group that is read in, as the cluster calls it.

    Raises:
        AccessError: the broker lets us not in, or not do something; the message names user and rights.
        TopicError: a topic is not there.
    """
    needed = [(cluster.topic(topic), AclOperation.READ) for topic in reads]
    needed += [(cluster.topic(topic), AclOperation.WRITE) for topic in writes]
    admin, _ = _client(cluster)
    names = sorted({name for name, _ in needed})
    try:
        topics = admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=TIMEOUT_S
        )
        allowed, missing = {}, []
        for name, described in topics.items():
            try:
                allowed[name] = described.result(TIMEOUT_S).authorized_operations or []
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    missing.append(name)
                elif code in DENIED:
                    allowed[name] = []
                else:
                    raise
        lacks_of_group = _lacks_of_group(admin, group)
    except (KafkaException, TimeoutError) as error:
        raise AccessError(why_unreachable(cluster, str(error))) from error
    lacks = [f"{right.name} on {name}" for name, right in needed if right not in allowed.get(name, [right])]
    lacks += lacks_of_group
    if lacks:
        msg = f"{user_of(cluster)} has not these rights on {cluster}: {', '.join(lacks)}. Grant them; {REMEDY}"
        raise AccessError(msg)
    if missing:
        hidden = f"or hides them from {user_of(cluster)}; `rheostat topics create` creates them"
        msg = f"{cluster} has not the topics {', '.join(missing)}, {hidden}"
        raise TopicError(msg)


def denied(cluster: Cluster, right: str, topic: str) -> str:
    """Return in words that a right is missing."""
    return f"{user_of(cluster)} has not the right {right} on {topic} of {cluster}. Grant it; {REMEDY}"


def why_unreachable(cluster: Cluster, said: str) -> str:
    """Return in words why a cluster does not answer.

    Args:
        cluster: that did not answer.
        said: by the client that asked.
    """
    refused = why_refused(cluster)
    if refused is not None:
        return refused
    said = f" ({said})" if said else ""
    if not cluster.client_properties:
        return (
            f"{cluster} does not answer{said}. Is a broker there, and one that wants neither TLS nor a password, as no "
            "--client-properties are given? `rheostat status` says what runs here"
        )
    file = cluster.client_properties
    return f"{cluster} does not answer{said}. Is a broker there, and does {file} say its listener's security.protocol?"


def why_refused(cluster: Cluster) -> str | None:
    """Return in words why a cluster does not let us in; None where it does, or nothing is there that could refuse."""
    if not cluster.client_properties:
        return None
    admin, errors = _client(cluster)
    deadline = time.monotonic() + REFUSED_S
    while (refused := _refused(cluster, errors)) is None and time.monotonic() < deadline:
        with contextlib.suppress(KafkaException):
            admin.list_topics(timeout=REFUSED_S / 10)
            return None
        admin.poll(0)
    return refused


def _refused(cluster: Cluster, errors: Iterable[KafkaError]) -> str | None:
    by_code = {error.code(): error.str() for error in errors}
    file = cluster.client_properties
    if (words := by_code.get(KafkaError._AUTHENTICATION)) is not None:
        return f"{cluster} does not let {user_of(cluster)} in ({words}): is the password in {file} right?"
    if (words := by_code.get(KafkaError._SSL)) is not None:
        return f"no TLS with {cluster} ({words}): does {file} name the authority and the certificate that it wants?"
    return None


def _client(cluster: Cluster) -> tuple[AdminClient, list[KafkaError]]:
    errors: list[KafkaError] = []
    settings: dict[str, Any] = {**for_librdkafka(cluster), "log_level": 0, "error_cb": errors.append}
    return AdminClient(settings), errors


def _lacks_of_group(admin: AdminClient, group: str) -> list[str]:
    (described,) = admin.describe_consumer_groups([group], include_authorized_operations=True).values()
    try:
        operations = described.result(TIMEOUT_S).authorized_operations or []
    except KafkaException as error:
        if error.args[0].code() in DENIED:
            return [f"READ on the group {group}"]
        return []  # the broker that keeps it is just taking it over: no reason not to start
    return [] if AclOperation.READ in operations else [f"READ on the group {group}"]
