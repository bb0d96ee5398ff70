"""What runs in Flink. The TaskManager's Python logs as its environment says."""

from streaming import logs

logs.configure()
