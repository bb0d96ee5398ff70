"""`python -m infra.docs.topics > docs/topics.md`: every field of every topic, from the schemas and a run."""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

import msgspec

from features.sources.simulator import shop
from features.spec import DAY_MS, SPEC_VERSION
from streaming import schemas
from streaming.contract.settings import PARTITIONS, RETENTION_DAYS, partitions_of, settings_of
from streaming.contract.topics import CONTRACTS, JOBS
from streaming.io.feed import to_item, to_message
from streaming.records import decode, decode_features, invalid
from streaming.schemas import (
    COMPACTED,
    Click,
    ClickKind,
    Message,
    Origin,
    Policy,
    ProfileRequest,
    Purchase,
    Request,
    Return,
    StoredProfile,
    Topic,
)
from streaming.scoring.model import SessionModel
from streaming.testing import Pipeline, impression, recommendation

ARTIFACT = Path("onnx_models/artifacts/generator")
START_MS = 1_700_000_000_000
WORDS = {
    "Scope": "text, `global` or KIND:NAME",
    "TimeMs": "integer, ms since 1970 UTC, of the years 2000 to 2100",
    "Int64": "integer of 64 bits",
    "bytes": "bytes, base64",
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
}
_ABOUT = """\
For whoever writes to a topic or reads from one. Every record is JSON of one message, but of the logs, which
only jobs and commands read: MessagePack of one (here as JSON). Types are strict: a field that is missing, of another
type or out of its bounds makes a dead letter of the record. Each has `schema_version` beside the fields below. Topics
may have a prefix (`--topic-prefix`), which messages leave out. Made from `streaming/schemas.py` by `make docs`, as are
[their JSON Schema](topics.schema.json) and [AsyncAPI](asyncapi.json); `rheostat schemas --out FOLDER` writes both,
a schema a topic, and the OpenAPI of the HTTP door.

**Versions.** Readers ignore fields that they do not know, and take a word that they do not know for `other` where the
list of words has that. So a field or such a word may be added under the same `schema_version`, and jobs of two versions
read each other's records. What changes the meaning of a field raises `schema_version`; a reader refuses a higher one
than its own.

**Transactions.** Only what was committed is read (`read_committed`).

**Topics.** `rheostat topics create` makes them as this table has them (`--partitions` of those that have two here,
`--replication`), `check` says what is not so, `export` writes them and each job's rights for Strimzi."""
LONG = 3  # elements of a list, and fields of a map, that an example shows


def page() -> str:
    tree = ast.parse(inspect.getsource(schemas))
    lines = inspect.getsource(schemas).splitlines()
    structs = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    parts = [
        "# Topics",
        _ABOUT,
        "| topic | key | message | written by | read by | partitions, kept |\n|---|---|---|---|---|---|\n"
        + "\n".join(_overview(topic) for topic in CONTRACTS),
    ]
    of_topics = examples()
    described: set[str] = set()
    for topic, contract in CONTRACTS.items():
        name = contract.name
        if name not in described:
            parts += [f"## {topic.value}", *_struct(structs[name], lines), _example(of_topics[topic])]
            described.add(name)
    parts.append("## Parts of messages")
    used = {
        name for name in structs if name not in described and not name.startswith("_") and not _is_view(structs[name])
    }
    for name in sorted(used):
        parts += [f"### {name}", *_struct(structs[name], lines)]
    enums = [node for node in structs.values() if ast.unparse(node.bases[0]) == "StrEnum" and node.name != "Topic"]
    parts.append("## Words\n\n| | one of |\n|---|---|\n" + "\n".join(_words(node) for node in enums))
    return "\n\n".join(parts) + "\n"


def _overview(topic: Topic) -> str:
    contract = CONTRACTS[topic]
    partitions = partitions_of(topic, PARTITIONS)
    kept = "newest of a key" if topic in COMPACTED else f"{RETENTION_DAYS[topic]} d"
    if "min.compaction.lag.ms" in settings_of(topic, 0):
        kept += ", all of 30 days"
    writers, readers = (", ".join(map(_marked, names)) or "nobody" for names in (contract.writers, contract.readers))
    return f"| `{topic.value}` | {contract.key} | {contract.name} | {writers} | {readers} | {partitions}, {kept} |"


def _marked(name: str) -> str:
    """Return who writes or reads a topic as a page has it: jobs, commands and modules as code."""
    return f"`{name}`" if name in JOBS or name.startswith(("rheostat ", "streaming.")) else name


def _is_view(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base) in ("View", "StrEnum") for base in node.bases) or not _fields(node)


def _fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [item for item in node.body if isinstance(item, ast.AnnAssign)]


def _struct(node: ast.ClassDef, lines: list[str]) -> Iterator[str]:
    yield " ".join((ast.get_docstring(node) or "").split()) or f"A {node.name.lower()}."
    rows = [
        (
            item.target.id,
            _type(ast.unparse(item.annotation)),
            _default(item.value),
            _comment(lines[item.end_lineno - 1]),
        )
        for item in _fields(node)
        if isinstance(item.target, ast.Name) and item.end_lineno is not None
    ]
    yield "| field | type | without it | what |\n|---|---|---|---|\n" + "\n".join(
        f"| `{name}` | {kind} | {default} | {what} |" for name, kind, default, what in rows
    )


def _type(text: str) -> str:
    """Return what an annotation of `streaming/schemas.py` says, in words."""
    if text.endswith(" | None"):
        return f"{_type(text.removesuffix(' | None'))}, or null"
    alias: Any = getattr(schemas, text, None)
    if text not in WORDS and hasattr(alias, "__metadata__"):
        (meta,) = alias.__metadata__
        return _bounded(_spelled(alias.__origin__), meta)
    if text.startswith("Annotated["):
        base, _, meta = text.removeprefix("Annotated[").removesuffix("]").rpartition(", Meta(")
        return _bounded(base, eval(f"msgspec.Meta({meta}", {"msgspec": msgspec, **vars(schemas)}))
    if text.startswith("tuple["):
        return f"list of {_type(text.removeprefix('tuple[').removesuffix(', ...]'))}"
    if text.startswith("dict["):
        _, _, value = text.removesuffix("]").partition(", ")
        return f"map of {_type(value)}"
    return WORDS.get(text, text).replace("|", "\\|")


def _spelled(origin: Any) -> str:
    """Return a type as the schemas spell it."""
    arguments = get_args(origin)
    if not arguments:
        return str(origin.__name__)
    names = [argument if isinstance(argument, str) else _name_of(argument) for argument in arguments]
    return f"{origin.__origin__.__name__}[{', '.join(names)}]"


def _name_of(argument: Any) -> str:
    """Return what the schemas call a type."""
    if argument is ...:
        return "..."
    return next((name for name, value in vars(schemas).items() if value is argument), getattr(argument, "__name__", ""))


def _bounded(base: str, meta: msgspec.Meta) -> str:
    kind = _type(base)
    if meta.min_length is not None and meta.min_length == meta.max_length:
        return f"{meta.max_length} of: {kind.removeprefix('list of ')}"
    if meta.max_length is not None:
        unit = "characters" if base == "str" else "of them"
        return f"{kind}, {meta.min_length or 0} to {meta.max_length:,} {unit}"
    low = f"above {_number(meta.gt)}" if meta.ge is None else _number(meta.ge)
    high = f"below {_number(meta.lt)}" if meta.le is None else _number(meta.le)
    return f"{kind}, {low} to {high}"


def _number(bound: float | None) -> str:
    assert bound is not None, "a number has two bounds"
    return f"{bound:g}" if not float(bound).is_integer() or abs(bound) > 1e18 else f"{int(bound):,}"


def _default(value: ast.expr | None) -> str:
    if value is None:
        return "required"
    text = ast.unparse(value)
    if text in vars(schemas):
        text = repr(getattr(schemas, text))
    if text == "b''":
        text = "''"
    if text.startswith("msgspec.field(default_factory=lambda: "):
        text = text.removeprefix("msgspec.field(default_factory=lambda: ").removesuffix(")")
    for python, json_text in (("None", "null"), ("True", "true"), ("False", "false"), ("'", '"')):
        text = text.replace(python, json_text)
    return f"`{text}`"


def _comment(line: str) -> str:
    return line.partition("  # ")[2].replace("|", "\\|")


def _words(node: ast.ClassDef) -> str:
    words = [ast.literal_eval(item.value) for item in node.body if isinstance(item, ast.Assign)]
    return f"| {node.name} | {', '.join(f'`{word}`' for word in words)} |"


@cache
def examples() -> dict[Topic, Message | schemas.DeadLetter]:
    """Return a message of each topic, from the simulated shop and the committed model."""
    messages: dict[Topic, Any] = {}
    pipeline = Pipeline(
        SessionModel(ARTIFACT), shop.items(), emit=lambda topic, _, message: messages.update({topic: message})
    )
    for did in islice(shop.interactions(7, START_MS, 100), 300):
        message = to_message(did)
        messages[Topic.PURCHASES if isinstance(message, Purchase) else Topic.CLICKS] = message
        records = pipeline.answer(message).records
        slate = recommendation(records)
        for topic, _, raw in records:
            if topic == Topic.FEATURE_LOG:
                messages[Topic.FEATURE_LOG] = decode_features(raw)
        pipeline.shown(slate)
        shown = impression(slate, slate.event_time_ms + 1_500)
        messages |= {Topic.RECOMMENDATIONS: slate, Topic.IMPRESSIONS: shown}
        pipeline.feedback(shown)
    pipeline.feedback(
        Click(
            event_id="e1",
            shopper_id=slate.shopper_id,
            session_id="x",
            item_id=slate.slate[2].item_id,
            event_time_ms=slate.event_time_ms + 4_000,
            kind=ClickKind.VIEW,
            rec_id=slate.rec_id,
        )
    )
    sale = Purchase(
        event_id="e2",
        shopper_id=slate.shopper_id,
        session_id="x",
        item_id=slate.slate[2].item_id,
        event_time_ms=slate.event_time_ms + 60_000,
        order_id="order-1",
        price=19.9,
        quantity=2,
    )
    pipeline.feedback(sale)
    with_it = next(item for item in shop.items() if item.item_id != sale.item_id)
    pipeline.feedback(msgspec.structs.replace(sale, event_id="e4", item_id=with_it.item_id))
    messages[Topic.RETURNS] = Return(
        event_id="e3",
        shopper_id=sale.shopper_id,
        item_id=sale.item_id,
        order_id=sale.order_id,
        event_time_ms=sale.event_time_ms + 5 * DAY_MS,
        quantity=1,
    )
    pipeline.feedback(messages[Topic.RETURNS])
    pipeline.turn(Policy(version=2, author="me", weights={"relevance": 1.0, "revenue": 0.5}, time_ms=START_MS))
    pipeline.learn()
    shopper_id = slate.shopper_id
    messages[Topic.REQUESTS] = request = Request(
        request_id="q1",
        shopper_id=shopper_id,
        session_id="x",
        surface="product",
        event_time_ms=START_MS + 30_000,
        size=12,
        exclude=(sale.item_id,),
    )
    for topic, key, raw in pipeline.answer(request).records:
        if topic == Topic.REQUEST_LOG:
            messages[Topic.REQUEST_LOG] = cast("Message", decode(key, raw, Origin(topic, 0, 0)))
    messages[Topic.ITEMS] = to_item(shop.items()[0])
    messages[Topic.PROFILE_REQUESTS] = ProfileRequest(shopper_id=shopper_id)
    messages[Topic.PROFILES] = StoredProfile(shopper_id=shopper_id, spec_version=SPEC_VERSION, profile_state=b"")
    letter = invalid(Origin("clicks", 0, 12), "Object missing required field `shopper_id`", b'{"event_id": "e1"}')
    messages[Topic.DEAD_LETTERS] = msgspec.structs.replace(letter, time_ms=START_MS)
    return messages


def _example(message: Message | schemas.DeadLetter) -> str:
    fields = _short(msgspec.json.decode(msgspec.json.encode(message)))
    fields |= {name: START_MS + 5 for name in ("emitted_time_ms",) if name in fields}
    fields |= {name: (START_MS + 5) * 1000 for name in ("created_time_us",) if name in fields}
    return "```json\n" + msgspec.json.format(msgspec.json.encode(fields), indent=1).decode() + "\n```"


def _short(value: Any) -> Any:
    """Return a value with long lists, maps and texts cut: which is where a `…` stands."""
    if isinstance(value, list):
        return [_short(part) for part in value[:LONG]] + ["…"] * (len(value) > LONG)
    if isinstance(value, dict):
        is_map = len(value) > 30 and not {"rec_id", "shopper_id"} & value.keys()
        pairs = list(value.items())[: LONG if is_map else None]
        return {name: _short(part) for name, part in pairs} | ({"…": "…"} if is_map else {})
    if isinstance(value, float):
        return float(f"{value:.4g}")  # as any processor has it
    return value if not isinstance(value, str) or len(value) <= 60 else value[:40] + "…"


if __name__ == "__main__":
    sys.stdout.write(page())
