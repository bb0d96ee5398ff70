"""State of one key, in a dictionary."""


class Memory:
    """What Flink's MapState is for a pure class."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def put(self, name: str, value: bytes) -> None:
        self.kept[name] = value

    def remove(self, name: str) -> None:
        del self.kept[name]
