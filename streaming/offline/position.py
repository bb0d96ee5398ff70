"""How far a log has landed, of which topic. What has landed is deleted only where the topic still has it."""

from pathlib import Path

import msgspec

from features.errors import PositionError
from streaming.io.topics import Watermarks
from streaming.storage import PART, write_whole

LANDED = "_landed.json"


class Position(msgspec.Struct):
    """In `_landed.json`, which is replaced after a batch's files are complete."""

    topic: str  # with its prefix
    topic_id: str  # of the broker's own: a topic that is made anew has another; "" if an older version has landed it
    next: dict[int, int] = {}  # partition -> offset that has not landed yet


_OF_OLDER_VERSIONS = msgspec.json.Decoder(dict[int, int])


def resume(folder: Path, topic: str, topic_id: str, there: dict[int, Watermarks]) -> tuple[Position, int]:
    """Return from where to go on, and how many records are gone that have never landed.

    Files of a batch that was cut off are removed: they land again.

    Args:
        folder: of the log.
        topic: with its prefix.
        topic_id: as the broker has it.
        there: of each partition, what the topic has now.

    Raises:
        PositionError: the topic is not the one that has landed, or no longer has what was cut off. Nothing was changed.
    """
    position = _read(folder)
    files = sorted(folder.glob("date=*/*"), key=str)
    if position is None:
        if files:
            msg = (
                f"{folder} has {len(files)} files and no {LANDED}, so it cannot be said which of them are whole. "
                "Nothing was touched. Land into another folder"
            )
            raise PositionError(msg)
        position = Position(topic, topic_id)
    if position.topic_id not in ("", topic_id):
        msg = (
            f"{folder} holds rows of the topic {position.topic} with the id {position.topic_id}; {topic} has the id "
            f"{topic_id} now: it was deleted and made anew, or it is another one. Nothing was touched. Land into "
            "another folder"
        )
        raise PositionError(msg)
    for partition, offset in position.next.items():
        end = there[partition].high if partition in there else 0
        if offset > end:
            msg = (
                f"{folder} holds partition {partition} of {topic} up to offset {offset}, and the topic ends at {end}: "
                "it was made anew, or has lost records. Nothing was touched. Land into another folder"
            )
            raise PositionError(msg)
    unfinished = [path for path in files if path.suffix == PART]
    whole = [path for path in files if path.suffix != PART]
    cut_off = [path for path in whole if _first(path) >= position.next.get(_partition(path), 0)]
    for path in cut_off:
        if _partition(path) not in there or _first(path) < there[_partition(path)].low:
            msg = (
                f"{path} is of a batch that was cut off, and {topic} no longer has its records to land them again. "
                f"Nothing was touched. Move the file away, or set {LANDED} behind it"
            )
            raise PositionError(msg)
    for path in [*cut_off, *unfinished]:
        path.unlink()
    position.topic, position.topic_id = topic, topic_id
    missing = 0
    for partition, of_topic in there.items():
        missing += max(of_topic.low - position.next.get(partition, 0), 0)
        position.next[partition] = max(of_topic.low, position.next.get(partition, 0))
    write(folder, position)
    return position, missing


def write(folder: Path, position: Position) -> None:
    write_whole(folder / LANDED, msgspec.json.encode(position))


def _read(folder: Path) -> Position | None:
    path = folder / LANDED
    if not path.is_file():
        return None
    raw = path.read_bytes()
    try:
        return msgspec.json.decode(raw, type=Position)
    except msgspec.MsgspecError as error:
        try:
            return Position("", "", _OF_OLDER_VERSIONS.decode(raw))
        except msgspec.MsgspecError:
            msg = f"{path} cannot be read: {error}. Nothing was touched. Restore it, or land into another folder"
            raise PositionError(msg) from error


def _partition(path: Path) -> int:
    return int(path.stem.split("-")[0])


def _first(path: Path) -> int:
    return int(path.stem.split("-")[1])
