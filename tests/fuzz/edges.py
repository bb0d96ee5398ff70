"""Records at their edges: every topic's message, field by field at and beyond its bounds, and bytes that are none."""

import base64
import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from msgspec import inspect

from features.spec import DAY_MS
from streaming.records import MESSAGES
from streaming.schemas import Recommendation, ScopeKind, Topic

NOW_MS = 1_700_000_000_000
INTEGERS = (0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30)
NUMBERS = (
    0.0,
    -0.0,
    5e-324,
    1e-300,
    1e-9,
    0.1,
    1.0,
    1.0000000000000002,
    1e15,
    1e30,
    1e300,
    1.7976931348623157e308,
    -1e308,
)
TEXTS = (
    "",
    " ",
    "x",
    "\u0000",
    "\u0001" * 256,
    "\U0001f600" * 256,
    "e\u0301" * 128,
    "\u202egnihtyna",
    "x" * 256,
    "x" * 257,
    "global",
    "null",
    "-1",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "a\nb\rc\td",
    '"quoted"',
    "a:b|c@d[0]",
)
EXPRESSIONS = (
    "item.price",
    "item.margin > 0.3 and item.stock > 5",
    "'a'*99999999999",
    "'a'*200000000",
    "max(1, 2, item.merchant)",
    "exp(exp(exp(item.price)))",
    "item.price / 0 - 1 / item.price",
    "1e15*1e15*1e15*1e15*item.price",
    "-" * 400 + "1",
    "item.category == item.brand",
    "session.length * session.evidence * 1e15",
    "-(item.stock > session.purchases)",
    "item.price if item.brand != 'x' else -item.price",
)
MISFITS = (None, True, False, 3, 3.5, "3", [], {}, [1], {"a": 1}, "x" * 300)
NAMED: dict[str, Callable[["Edges"], Any]] = {
    "shopper_id": lambda edges: edges.random.choice(("s1", "s2", "s3")),
    "item_id": lambda edges: edges.random.choice(edges.items),
    "rec_id": lambda edges: edges.random.choice((None, f"r{edges.random.randrange(50)}")),
    "event_id": lambda edges: f"e{edges.random.randrange(200)}",
    "session_id": lambda edges: edges.random.choice(("x1", "x2")),
    "event_time_ms": lambda edges: edges.time_ms(),
    "scope": lambda edges: edges.random.choice(("global", "surface:home", "merchant:m", "segment:a", "experiment:b")),
    "version": lambda edges: edges.version(),
    "expression": lambda edges: edges.random.choice(EXPRESSIONS),
    "when": lambda edges: edges.random.choice((None, *EXPRESSIONS)),
    "where": lambda edges: edges.random.choice((None, *EXPRESSIONS)),
    "name": lambda edges: "outcomes",
    "model_version": lambda edges: edges.model_version,
    "spec_version": lambda edges: edges.random.choice((1, 2, 3)),
    "profile_state": lambda edges: edges.random.choice(edges.profiles),
    "items": lambda edges: [edges.random.choice(edges.items) for _ in range(edges.random.randrange(1, 25))],
    "consent": lambda edges: edges.random.random() < 0.9,
    "surface": lambda edges: edges.random.choice(("home", "product", "search", "listing", "lobby")),
    "filter": lambda edges: edges.random.choice((None, None, *EXPRESSIONS)),
    "category": lambda edges: edges.random.choice(("tea", "mugs", "x")),
    "context_item": lambda edges: edges.random.choice((None, *edges.items)),
    "exclude": lambda edges: [edges.random.choice(edges.items) for _ in range(edges.random.randrange(4))],
    "deadline_time_ms": lambda edges: edges.random.choice((None, None, NOW_MS, NOW_MS + 20_000 * DAY_MS)),
}


FEEDBACK = Topic.IMPRESSIONS, Topic.CLICKS, Topic.PURCHASES, Topic.RETURNS


class Edges:
    """Makes records. The same source of chance makes the same ones; it shrinks, if it is hypothesis's.

    Args:
        items: ids that the shop has.
        model_version: of the model.
    """

    def __init__(self, items: list[str], model_version: str) -> None:
        self.items, self.model_version = [*items, "unknown"], model_version
        self.slates, self.profiles = list[Recommendation](), [""]  # of the jobs' own, to be met again
        self.random, self._version = Random(0), 1
        self._types = {topic: inspect.type_info(message) for topic, message in MESSAGES.items()}

    def time_ms(self) -> int:
        far = self.random.choice((0, 0, 0, 0, 0, 0, DAY_MS, 40 * DAY_MS, -400 * DAY_MS, 4_000 * DAY_MS))
        return NOW_MS + self.random.randrange(7_200_000) + far

    def version(self) -> int:
        self._version += 1
        return self.random.choice((1, 2, self._version, self._version))

    def record(self, random: Random) -> tuple[Topic, str, bytes | None]:
        """Return a record: mostly a message with a field or two at their edges, else none."""
        self.random = random
        topic = Topic(random.choice(tuple(self._types)))
        value = self._value(self._types[topic], spoil=random.choice((0.0, 0.0, 0.02, 0.2)))
        if topic in FEEDBACK and self.slates and random.random() < 0.5:
            self._answer(value)
        for _ in range(random.choice((0, 0, 0, 1, 2))):
            _spoil(value, random)
        key = self._key(value)
        chance = random.random()
        if chance < 0.02:
            return topic, key, None
        raw = json.dumps(value, ensure_ascii=random.random() < 0.5).encode(errors="replace")
        return topic, key, self._mutated(raw) if chance < 0.12 else raw

    def _answer(self, feedback: dict[str, Any]) -> None:
        """Make it feedback to a slate that there is."""
        slate = self.random.choice(self.slates)
        ids = [item.item_id for item in slate.slate] or ["none"]
        feedback |= {"rec_id": slate.rec_id, "shopper_id": slate.shopper_id}
        feedback["event_time_ms"] = slate.event_time_ms + self.random.randrange(-1_000, 100_000)
        feedback |= {"items": ids[: self.random.randrange(1, 25)]} if "items" in feedback else {}
        feedback |= {"item_id": self.random.choice(ids)} if "item_id" in feedback else {}
        feedback |= {"order_id": self.random.choice(("o1", "o2"))} if "order_id" in feedback else {}

    def _key(self, value: Any) -> str:
        if self.random.random() < 0.03 or not isinstance(value, dict):
            return self.random.choice(TEXTS)
        row = value.get("row")
        fields = value if not isinstance(row, dict) else row
        names = [name for name in ("shopper_id", "scope", "item_id", "name") if isinstance(fields.get(name), str)]
        return fields[names[0]] if names else ""

    def _mutated(self, raw: bytes) -> bytes:
        random = self.random
        match random.randrange(9):
            case 0:
                return raw[: random.randrange(len(raw) + 1)]
            case 1:
                at = random.randrange(len(raw))
                return raw[:at] + bytes([random.randrange(256)]) + raw[at + 1 :]
            case 2:
                return b"[" + raw + b"]"
            case 3:
                return b'{"a":' * random.choice((3, 2_000, 100_000)) + raw
            case 4:
                return b"\0\0\0\0\1" + raw
            case 5:
                return raw[:-1] + b',"unknown":{"deep":[1,2,3]},"' + b"x" * 300 + b'":null}'
            case 6:
                return b"x" * random.choice((0, 1, 70_000, 900_000))
            case 7:
                return raw.replace(b": ", b": " + b" " * random.choice((1, 1_000)), 3)
        return raw.decode().encode("utf-16")

    def _value(self, of: inspect.Type, spoil: float, name: str = "") -> Any:
        random = self.random
        if name in NAMED and random.random() > spoil / 4:
            return NAMED[name](self)
        match of:
            case inspect.Metadata():
                return self._value(of.type, spoil, name)
            case inspect.StructType() | inspect.DataclassType() | inspect.NamedTupleType() | inspect.TypedDictType():
                fields = {
                    field.encode_name if isinstance(field, inspect.Field) else field.name: field for field in of.fields
                }
                values = {
                    each: self._value(field.type, spoil, each)
                    for each, field in fields.items()
                    if field.required or random.random() < 0.6
                }
                return list(values.values()) if getattr(of, "array_like", False) else values
            case inspect.UnionType():
                return self._value(random.choice(of.types), spoil, name)
            case inspect.EnumType():
                return random.choice(list(of.cls)).value
            case inspect.LiteralType():
                return random.choice(of.values)
            case inspect.IntType():
                return self._integer(of, spoil)
            case inspect.FloatType():
                return self._number(of, spoil)
            case inspect.StrType():
                return self._text(of, spoil)
            case inspect.BoolType():
                return random.random() < 0.5
            case inspect.NoneType():
                return None
            case inspect.BytesType():
                content = random.randbytes(random.choice((0, 1, 4, 24, 48, 480, 4_000)))
                return base64.b64encode(content).decode()
            case inspect.VarTupleType() | inspect.ListType():
                return [self._value(of.item_type, spoil / 4) for _ in range(self._length(of))]
            case inspect.TupleType():
                return [self._value(item, spoil / 4) for item in of.item_types]
            case inspect.DictType():
                objectives = ("relevance", "revenue", "novelty", "mine", "share of m")
                keys = [random.choice((*objectives, *self.items, *TEXTS)) for _ in range(self._length(of))]
                return {key: self._value(of.value_type, spoil / 4) for key in keys}
        return deepcopy(random.choice(MISFITS))

    def _length(self, of: Any) -> int:
        low, high = of.min_length or 0, of.max_length
        lengths = [low, low + 1, low + 3]
        if self.random.random() < 0.1:
            lengths += [max(low - 1, 0), 25 if high is None else high, 40 if high is None else high + 1]
        return self.random.choice(lengths)

    def _integer(self, of: inspect.IntType, spoil: float) -> int:
        low, high = of.ge if of.ge is not None else -100, of.le if of.le is not None else 100
        if self.random.random() < spoil:
            return self.random.choice((low, high, low - 1, high + 1, *INTEGERS))
        return self.random.randint(low, min(high, low + 1_000))

    def _number(self, of: inspect.FloatType, spoil: float) -> float:
        low = of.ge if of.ge is not None else of.gt if of.gt is not None else -1.0
        high = of.le if of.le is not None else of.lt if of.lt is not None else 1.0
        if self.random.random() < spoil:
            return self.random.choice((low, high, low - 1e-9, high * (1 + 1e-9), *NUMBERS))
        return self.random.uniform(max(low, -10.0), min(high, 10.0))

    def _text(self, of: inspect.StrType, spoil: float) -> str:
        if self.random.random() < spoil:
            return self.random.choice(TEXTS)
        if of.pattern:
            kind = self.random.choice(list(ScopeKind))
            return kind.value if kind is ScopeKind.GLOBAL else f"{kind.value}:{self.random.choice(('home', 'm', 'a'))}"
        return self.random.choice(("a", "b", "home", "tea", "m"))


def _spoil(value: Any, random: Random) -> None:
    """Put something else in the place of a field, or take the field away."""
    if not isinstance(value, dict) or not value:
        return
    name = random.choice(tuple(value))
    inner = value[name]
    if isinstance(inner, dict) and inner and random.random() < 0.5:
        return _spoil(inner, random)
    if random.random() < 0.3:
        del value[name]
    else:
        value[name] = deepcopy(random.choice((*MISFITS, *INTEGERS, *NUMBERS, *TEXTS)))  # it may be spoilt in turn
    return None
