"""On a broker with TLS, passwords, certificates and rights: each job has those that the docs say, and no others do."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from support.replay import ARTIFACT
from support.runs import history
from support.secured import CERTIFICATE, PLAIN, SCRAM, Secured, secured_kafka

from features.errors import DeliveryError
from features.interaction import Kind
from features.sources.simulator import shop
from features.stores.applied import feast_repo
from infra.local.job import Job, local_job
from infra.local.kafka import ROOT
from infra.local.subscriber import Subscriber
from streaming.client.client import Client
from streaming.config import Cluster
from streaming.contract.rights import Rights, rights_of
from streaming.contract.topics import SHOP
from streaming.io.feed import Feed
from streaming.io.topics import read_topic
from streaming.schemas import Outcome, Recommendation, Topic

DEADLINE_S = 120.0
WAYS = {"recommend": SCRAM, "features": CERTIFICATE, "learn": PLAIN}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("secured"), ("learn", "nobody"), ("recommend", "app")) as broker:
        for job in WAYS:
            broker.grant(job, rights_of(job))
        of_shop = rights_of(SHOP)
        broker.grant("app", Rights((Topic.RECOMMENDATIONS, Topic.DEAD_LETTERS), (*of_shop.writes, Topic.IMPRESSIONS)))
        yield broker


@pytest.fixture(scope="module")
def app(secured: Secured) -> Cluster:
    return secured.cluster("app", SCRAM)


def test_jobs_work_with_the_rights_that_they_are_said_to_need(secured: Secured, app: Cluster, tmp_path: Path) -> None:
    interactions = [did for did in history(120) if did.kind is not Kind.PURCHASE][:60]
    options = {
        "recommend": ("--model", str(ARTIFACT)),
        "features": ("--feast-repo", str(feast_repo(tmp_path / "feast"))),
        "learn": ("--batch-ms", "200"),
    }
    with ExitStack() as running, Feed(app) as feed, Subscriber(app, Topic.RECOMMENDATIONS, Recommendation) as slates:
        feed.items(shop.items())
        jobs = [
            running.enter_context(local_job(name, tmp_path, secured.cluster(name, way), *options[name]))
            for name, way in WAYS.items()
        ]
        for interaction in interactions:
            feed.interaction(interaction)
        missing, first = {did.event_id for did in interactions}, None
        deadline = time.monotonic() + DEADLINE_S
        while missing:
            slate = slates.poll(0.2)
            if slate is not None:
                missing.discard(slate.event_id)
                first = first or slate
            assert_run(jobs, deadline)
        assert first is not None
        feed.impression(first, first.event_time_ms + 1)
        feed.flush()
        with Client(
            app.bootstrap_servers, topic_prefix=app.topic_prefix, client_properties=app.client_properties
        ) as asker:
            answer = asker.recommend("somebody", "visit", "home", timeout_s=30)
        assert answer.shopper_id == "somebody"
        with Subscriber(secured.owner, Topic.OUTCOMES, Outcome) as outcomes:
            while outcomes.poll(0.2) is None:
                assert_run(jobs, deadline)
        asked = {key for _, key, _ in read_topic(secured.owner, Topic.PROFILE_REQUESTS)}
        while not asked <= {key for _, key, _ in read_topic(secured.owner, Topic.PROFILES)}:
            assert_run(jobs, deadline)
            time.sleep(0.2)
    assert not list(read_topic(secured.owner, Topic.DEAD_LETTERS))
    for job in jobs:  # what a password opens is in no log
        assert "pass" not in job.log.read_text(encoding="utf-8")


def assert_run(jobs: list[Job], deadline: float) -> None:
    for job in jobs:
        job.assert_running()
    assert time.monotonic() < deadline, "\n".join(job.log_tail() for job in jobs)


def ended(name: str, home: Path, cluster: Cluster, *options: str) -> str:
    """Return what a job says that does not start."""
    with local_job(name, home, cluster, *options) as job:
        job.process.wait(DEADLINE_S)
    assert job.process.returncode == 1
    return job.log.read_text(encoding="utf-8")


def test_job_without_rights_names_what_it_lacks(secured: Secured, tmp_path: Path) -> None:
    said = ended("learn", tmp_path, secured.cluster("nobody", PLAIN))
    assert "learn: the user nobody has not these rights on 127.0.0.1" in said
    for right in ("READ on secured.clicks", "WRITE on secured.outcomes", "READ on the group secured.rheostat-learn"):
        assert right in said
    assert "Traceback" not in said


WRONG: list[tuple[str, Callable[[Secured], Cluster], str]] = [
    ("password", lambda secured: secured.cluster("app", SCRAM, password="other"), "does not let the user app in ("),
    ("authority", lambda secured: secured.cluster("app", SCRAM, authority="another-ca.pem"), "no TLS with 127.0.0.1"),
    (
        "properties",
        lambda secured: replace(secured.cluster("app", SCRAM), client_properties=""),
        "neither TLS nor",
    ),
    (
        "right",
        lambda secured: secured.cluster("app", SCRAM),
        "the user app has not the right DESCRIBE on secured.policies",
    ),
]


def wrong(what: str, cluster: Callable[[Secured], Cluster], words: str) -> object:
    """Return a parameter; where nothing answers, that is waited for, which others do by day."""
    marks = (pytest.mark.nightly,) if what == "properties" else ()
    return pytest.param(cluster, words, id=what, marks=marks)


@pytest.mark.parametrize(("cluster", "words"), [wrong(*row) for row in WRONG])
def test_command_names_what_keeps_it_out(secured: Secured, cluster: Callable[[Secured], Cluster], words: str) -> None:
    of_user = cluster(secured)
    command = [sys.executable, "-m", "streaming.cli.main", "--topic-prefix", of_user.topic_prefix]
    command += ["--client-properties", of_user.client_properties] if of_user.client_properties else []
    command += ["policy", "get", "--bootstrap-servers", of_user.bootstrap_servers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_feed_names_the_right_that_it_lacks(app: Cluster) -> None:
    with Feed(app) as feed:
        feed.raw(Topic.ESTIMATES, "x", b"{}")
        with pytest.raises(DeliveryError, match="the user app has not the right WRITE on"):
            feed.flush()
    with pytest.raises(DeliveryError, match="WRITE on"), Feed(app) as feed:  # also where nobody waits for it
        feed.raw(Topic.ESTIMATES, "x", b"{}")
