"""The job `learn` of a release that keeps more than this one knows."""

from streaming.flink import connectors
from streaming.flink.state import STATE_VERSION
from streaming.jobs import learn

if __name__ == "__main__":
    connectors.STATE_VERSION = STATE_VERSION + 1
    learn.main()
