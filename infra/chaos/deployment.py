"""The three jobs on topics of their own, started again whenever they have ended, as an operator does."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from cassandra.cluster import Cluster as CassandraCluster

from features.errors import JobError
from features.stores.applied import feast_repo
from infra.chaos.servers import Servers
from infra.local.cassandra import PROTOCOL_VERSION
from infra.local.flink import ENDED
from streaming.config import NEWEST, Cluster
from streaming.flink.checkpoints import has_checkpoint
from streaming.io.topic_admin import create_topics

CHECKPOINT_MS = 2_000


@dataclass
class Deployment:
    """Of the jobs, under a name that its topics and its keyspace have."""

    servers: Servers
    cluster: Cluster
    repo: Path  # of Feast
    model: Path
    job_ids: dict[str, str] = field(default_factory=dict)  # of the jobs that were submitted
    restarts: int = 0  # by us; Flink's own are its own

    def tend(self) -> None:
        """Submit each job that does not run, from its newest checkpoint; what cannot be now is done the next time."""
        for name in ("recommend", "features", "learn"):
            if self._has_ended(name):
                self.restarts += name in self.job_ids
                with contextlib.suppress(JobError):
                    self.job_ids[name] = self._submit(name)

    def end(self, name: str) -> None:
        """End a job as it is; it is started again when it is tended."""
        self.servers.flink.cancel(self.job_ids[name])

    def close(self) -> None:
        """End all jobs."""
        for job_id in self.job_ids.values():
            with contextlib.suppress(JobError):
                self.servers.flink.cancel(job_id)

    @property
    def runs(self) -> bool:
        """Whether all jobs run."""
        try:
            return all(self.servers.flink.state(self.job_ids[name]) == "RUNNING" for name in self.job_ids)
        except JobError:
            return False

    def _has_ended(self, name: str) -> bool:
        if name not in self.job_ids:
            return True
        try:
            jobs = self.servers.flink.get("/jobs")["jobs"]
        except JobError:  # the JobManager is away: nothing can be submitted
            return False
        return {job["id"]: job["status"] for job in jobs}.get(self.job_ids[name], ENDED[0]) in ENDED

    def _submit(self, name: str) -> str:
        checkpoints = self.servers.state / self.cluster.topic_prefix / name
        options = {
            "recommend": ["--model", str(self.model), "--parallelism", "2"],
            "features": ["--feast-repo", str(self.repo), "--store-patience-s", "120"],
            "learn": [],
        }
        arguments = ["--bootstrap-servers", self.cluster.bootstrap_servers, "--topic-prefix", self.cluster.topic_prefix]
        arguments += ["--checkpoints", str(checkpoints), "--checkpoint-interval-ms", str(CHECKPOINT_MS)]
        arguments += ["--restart-attempts", "1000000"]  # the faults are ours, not the job's
        newest = ["--restore", NEWEST] if has_checkpoint(checkpoints) else []
        log = self.servers.home / f"{self.cluster.topic_prefix}{name}.log"
        return self.servers.flink.submit(f"streaming.jobs.{name}", [*arguments, *options[name], *newest], log)


def deployed(servers: Servers, name: str, model: Path) -> Deployment:
    """Return a deployment whose topics, keyspace and Feast repo are there, and whose jobs are still to be tended."""
    cluster = Cluster(servers.cluster.bootstrap_servers, f"{name}.")
    create_topics(cluster)
    node = servers.cassandra
    with CassandraCluster([node.host], port=node.port, protocol_version=PROTOCOL_VERSION) as cassandra:
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        cassandra.connect().execute(f"CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {replication}")
    repo = feast_repo(servers.home / f"feast-{name}", {**node.online_store, "keyspace": name})
    return Deployment(servers, cluster, repo, model)
