"""Whether the Kafka cluster lets a job do its work, asked before it starts."""

from streaming.config import JobConfig
from streaming.contract.rights import rights_of
from streaming.io.access import check_access


def check_rights(name: str, cfg: JobConfig) -> None:
    """Raise an AccessError or a TopicError that names all that the job `name` lacks."""
    reads, writes = rights_of(name)
    check_access(cfg.cluster, reads, writes, cfg.cluster.group(cfg.group_id))
