"""`rheostat topics`: the topics of a deployment on its Kafka cluster."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streaming.cli.group import group
from streaming.cli.options import AsJson, OnCluster, print_json, printer, say, secret
from streaming.config import Cluster
from streaming.contract.settings import PARTITIONS, SAFE_REPLICATION

USER_INFO = "RHEOSTAT_REGISTRY_USER_INFO"
topics = group("The topics of a deployment.")
Partitions = Annotated[int, typer.Option(min=1, help="Of a topic that may have several; compacted ones have one.")]


class Authentication(StrEnum):
    SCRAM = "scram-sha-512"
    TLS = "tls"


@topics.command()
def create(
    cluster: OnCluster,
    partitions: Partitions = PARTITIONS,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Of all topics.", show_default="the broker's own")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create every topic that is not there. What is there stays as it is: `check` says whether that is right.

    Example: rheostat topics create --bootstrap-servers kafka:9092 --partitions 12 --replication 3
    """
    from streaming.io.topic_admin import AS_THE_BROKER_HAS_IT, create_topics

    done = create_topics(cluster, partitions, AS_THE_BROKER_HAS_IT if replication is None else replication)
    say(f"{len(done.created)} topics created, {len(done.there)} were there", printer(as_json))
    print_json({"created": done.created, "there": done.there}, as_json)


@topics.command()
def check(cluster: OnCluster, as_json: AsJson = False) -> None:
    """Say what of the topics is not as the jobs need it. Exit 1 if anything is.

    Example: rheostat topics check --bootstrap-servers kafka:9092
    """
    from streaming.io.topic_admin import differences

    wrong = differences(cluster)
    console = printer(as_json)
    for sentence in wrong or ["all topics are as they must be"]:
        say(sentence, console)
    print_json({"wrong": wrong}, as_json)
    raise typer.Exit(1 if wrong else 0)


@topics.command()
def export(
    context: typer.Context,
    kafka: Annotated[str, typer.Option(help="Name of Strimzi's `Kafka` resource that they belong to.")],
    partitions: Partitions = PARTITIONS,
    replication: Annotated[int, typer.Option(min=1, help="Of all topics.")] = SAFE_REPLICATION,
    authentication: Annotated[Authentication, typer.Option(help="Of the jobs' users.")] = Authentication.SCRAM,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="File.", show_default="stdout")] = None,
) -> None:
    """Write the topics as KafkaTopics, and each job's user and rights as a KafkaUser, for Strimzi's operator.

    Example: rheostat topics export --kafka shop --partitions 12 | kubectl apply -f -
    """
    import yaml

    from streaming.contract import strimzi

    cluster = Cluster("", context.find_root().params["topic_prefix"])
    resources = [
        *strimzi.kafka_topics(kafka, cluster, partitions, replication),
        *strimzi.kafka_users(kafka, cluster, authentication.value),
    ]
    text = yaml.safe_dump_all(resources, sort_keys=False)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


@topics.command()
def register(
    context: typer.Context,
    registry: Annotated[str, typer.Option(metavar="URL", help="Of the schema registry.")],
    user_info_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help=f"Holds NAME:PASSWORD; else {USER_INFO} of the environment."),
    ] = None,
    authority: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="PEM; without it, the system's certificates.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the JSON Schema of each topic that others write into a schema registry, as the subject TOPIC-value.

    Records of its JSON Schema serializers are read as plain JSON is; nothing else needs the registry.

    Example: rheostat topics register --registry https://registry:8081
    """
    from streaming.io.schema_registry import register as put

    cluster = Cluster("", context.find_root().params["topic_prefix"])
    numbers = put(registry, cluster, secret(user_info_file, USER_INFO), authority)
    console = printer(as_json)
    for subject, number in numbers.items():
        say(f"{subject}: {number}", console)
    print_json({"schemas": numbers}, as_json)
