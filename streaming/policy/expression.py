"""What an operator may write as an objective or as the condition of a segment: `item.margin > 0.3 and item.stock > 5`.

An expression is numbers, conditions, and texts that are compared: each of its nodes is told which of them it is without
anything being evaluated, so what is written costs neither time nor memory before it is refused. What is left is
compiled. All candidates are evaluated at once, so operators and functions are numpy's.
"""

import ast
import operator
from collections.abc import Callable
from enum import Enum
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ExpressionError

ITEM_FIELDS = {
    "price": "of one piece; 0 where the shop does not say",
    "margin": "share of the price that the shop keeps; 1 where the shop does not say",
    "stock": "pieces",
    "popularity": "in [0, 1], as the model's log has it",
    "cheaper": "share of the items that are cheaper by more than 1 %, in [0, 1)",
    "category": "text",
    "brand": "text; empty where there is none",
    "merchant": "text; empty where there is none",
}
SESSION_FIELDS = {
    "length": "interactions of the session",
    "seconds": "since it began",
    "carted": "items that were put into the cart",
    "purchases": "that the shopper has made, ever",
    "evidence": "interactions that are known of the shopper, ever",
    "entropy": "of the interests, bits",
    "drift": "of the last hour from the rest, in [0, 1]",
    "uncertainty": "how little is known of the shopper, in [0, 1]",
    "surface": "text; where the slate is shown",
    "price_centre": "where the shopper's prices lie among those of their categories, in [0, 1]",
}
LENGTH_AT_MOST, DEPTH_AT_MOST = 500, 60  # characters; operations within each other
NUMBER_AT_MOST = 1e15  # of a number that is written down, and of what comes out
Fields = dict[str, Any]  # of items: arrays (K,); of a session: numbers


class Kind(Enum):
    """What a part of an expression is."""

    NUMBER = "a number"
    CONDITION = "a condition"
    TEXT = "text"


_TEXTS = frozenset({("item", "category"), ("item", "brand"), ("item", "merchant"), ("session", "surface")})
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult)
_FUNCTIONS = {"log1p": np.log1p, "exp": np.exp, "sqrt": np.sqrt, "abs": np.abs}
_EXTREMES = {"min": np.minimum, "max": np.maximum}  # of two and more
# Python asks a whole array for its truth; numpy's functions take each element's.
_ELEMENTWISE: dict[type[ast.AST], tuple[str, Callable[..., Any]]] = {
    ast.Lt: ("_lt", operator.lt),
    ast.LtE: ("_le", operator.le),
    ast.Gt: ("_gt", operator.gt),
    ast.GtE: ("_ge", operator.ge),
    ast.Eq: ("_eq", operator.eq),
    ast.NotEq: ("_ne", operator.ne),
    ast.And: ("_and", np.logical_and),
    ast.Or: ("_or", np.logical_or),
    ast.Not: ("_not", np.logical_not),
    ast.IfExp: ("_if", np.where),
    ast.Div: ("_div", np.divide),
}


def _as_number(condition: Any) -> NDArray[np.float64]:
    return np.asarray(condition, dtype=np.float64)


_GLOBALS: dict[str, Any] = (
    {"__builtins__": {}, "_number": _as_number} | _FUNCTIONS | _EXTREMES | dict(_ELEMENTWISE.values())
)
Part = tuple[ast.expr, Kind]  # ready to be compiled


class _Refused(Exception):
    """Why a part cannot be used."""


class _Reader:
    """Reads the tree of an expression once, and gathers the fields that it asks for."""

    def __init__(self) -> None:
        self.item_fields: set[str] = set()
        self.session_fields: set[str] = set()

    def read(self, node: ast.expr, depth: int = 0) -> Part:
        if depth > DEPTH_AT_MOST:
            msg = f"more than {DEPTH_AT_MOST} operations lie within each other"
            raise _Refused(msg)
        depth += 1
        match node:
            case ast.Constant():
                return _constant(node)
            case ast.Attribute(ast.Name(owner), field):
                return self._field(owner, field)
            case ast.UnaryOp(ast.USub(), inner):
                return ast.UnaryOp(ast.USub(), self._number(inner, depth)), Kind.NUMBER
            case ast.UnaryOp(ast.Not() as negation, inner):
                return _call(negation, [self._truth(inner, depth)]), Kind.CONDITION
            case ast.BinOp(left, op, right) if isinstance(op, (*_ARITHMETIC, ast.Div)):
                sides = [self._number(left, depth), self._number(right, depth)]
                is_division = isinstance(op, ast.Div)
                return _call(op, sides) if is_division else ast.BinOp(sides[0], op, sides[1]), Kind.NUMBER
            case ast.BoolOp(op, values):
                return _joined(op, [self._truth(value, depth) for value in values]), Kind.CONDITION
            case ast.Compare(left, ops, others):
                return self._compared([left, *others], ops, depth), Kind.CONDITION
            case ast.IfExp(test, body, otherwise):
                branches = [self._number(body, depth), self._number(otherwise, depth)]
                return _call(node, [self._truth(test, depth), *branches]), Kind.NUMBER
            case ast.Call(ast.Name(name), arguments, []):
                return self._called(name, arguments, depth), Kind.NUMBER
        msg = f"`{ast.unparse(node)}` is not available"
        raise _Refused(msg)

    def _number(self, node: ast.expr, depth: int) -> ast.expr:
        read, kind = self.read(node, depth)
        if kind is Kind.TEXT:
            msg = f"`{ast.unparse(node)}` is text, which can be compared by == and != and nothing else"
            raise _Refused(msg)
        return read if kind is Kind.NUMBER else ast.Call(ast.Name("_number", ast.Load()), [read], [])

    def _truth(self, node: ast.expr, depth: int) -> ast.expr:
        """A number is true unless it is 0."""
        read, kind = self.read(node, depth)
        return self._number(node, depth) if kind is Kind.TEXT else read

    def _compared(self, nodes: list[ast.expr], ops: list[ast.cmpop], depth: int) -> ast.expr:
        sides = [self.read(node, depth) for node in nodes]
        is_text = [kind is Kind.TEXT for _, kind in sides]
        if any(is_text) and not (all(is_text) and all(isinstance(op, ast.Eq | ast.NotEq) for op in ops)):
            msg = "text can be compared with text, by == and !=, and with nothing else"
            raise _Refused(msg)
        pairs = zip(ops, sides, sides[1:], strict=False)
        return _joined(ast.And(), [_call(op, [left, right]) for op, (left, _), (right, _) in pairs])

    def _called(self, name: str, arguments: list[ast.expr], depth: int) -> ast.expr:
        numbers = [self._number(argument, depth) for argument in arguments]
        if name in _EXTREMES and len(numbers) > 1:
            return reduce(lambda so_far, number: _named(name, [so_far, number]), numbers)
        if name in _FUNCTIONS and len(numbers) == 1:
            return _named(name, numbers)
        msg = f"{name} of {len(numbers)} numbers is not available"
        raise _Refused(msg)

    def _field(self, owner: str, field: str) -> Part:
        if field not in {"item": ITEM_FIELDS, "session": SESSION_FIELDS}.get(owner, ()):
            msg = f"there is no {owner}.{field}"
            raise _Refused(msg)
        (self.item_fields if owner == "item" else self.session_fields).add(field)
        read = ast.Subscript(ast.Name(owner, ast.Load()), ast.Constant(field), ast.Load())
        return read, Kind.TEXT if (owner, field) in _TEXTS else Kind.NUMBER


def _constant(node: ast.Constant) -> Part:
    if isinstance(node.value, str):
        return node, Kind.TEXT
    # As doubles: whole numbers of Python have no end.
    if isinstance(node.value, int | float) and abs(node.value) <= NUMBER_AT_MOST:
        return ast.Constant(float(node.value)), Kind.NUMBER
    msg = f"expected numbers of at most {NUMBER_AT_MOST:g}, and texts"
    raise _Refused(msg)


def _call(of: ast.AST, arguments: list[ast.expr]) -> ast.expr:
    if type(of) not in _ELEMENTWISE:
        msg = f"{type(of).__name__} is not available"
        raise _Refused(msg)
    return _named(_ELEMENTWISE[type(of)][0], arguments)


def _named(name: str, arguments: list[ast.expr]) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), arguments, [])


def _joined(by: ast.AST, nodes: list[ast.expr]) -> ast.expr:
    return reduce(lambda before, node: _call(by, [before, node]), nodes)


class Expression:
    """A checked expression. Raises ExpressionError where it cannot be used."""

    def __init__(self, text: str) -> None:
        if len(text) > LENGTH_AT_MOST:
            msg = f"an expression of {len(text)} characters, at most {LENGTH_AT_MOST} are read"
            raise ExpressionError(msg)
        reader = _Reader()
        try:
            read, kind = reader.read(ast.parse(text.strip(), mode="eval").body)
            if kind is Kind.TEXT:
                msg = "it is text, expected a number or a condition"
                raise _Refused(msg)
            code = compile(ast.fix_missing_locations(ast.Expression(read)), "expression", "eval")
        except (_Refused, SyntaxError, RecursionError, MemoryError, ValueError) as error:
            raise _error(text, error) from error
        self.item_fields, self.session_fields = reader.item_fields, reader.session_fields
        self._code = code

    def __call__(self, item: Fields, session: Fields) -> NDArray[np.float64]:
        """Return the value, () or (K,), within NUMBER_AT_MOST: where there is none, as of 1 / 0, it is 0."""
        with np.errstate(all="ignore"):
            return _bounded(self._evaluate(item, session))

    def holds(self, item: Fields, session: Fields) -> NDArray[np.bool_]:
        """Return whether the value, () or (K,), is above 0."""
        with np.errstate(all="ignore"):
            return self.truth(item, session)

    def truth(self, item: Fields, session: Fields) -> NDArray[np.bool_]:
        """Return what `holds` does, for a caller that sees to numpy's warnings, once for several expressions."""
        value = np.asarray(self._evaluate(item, session))
        return value if value.dtype == np.bool_ else _bounded(value) > 0

    def _evaluate(self, item: Fields, session: Fields) -> Any:
        return eval(self._code, _GLOBALS, {"item": item, "session": session})  # checked above, node by node


def _bounded(result: Any) -> NDArray[np.float64]:
    """Return what came out as numbers within NUMBER_AT_MOST."""
    value = np.asarray(result, dtype=np.float64)
    if np.abs(value).max(initial=0.0) <= NUMBER_AT_MOST:  # not so where one is not a number
        return value
    return np.clip(np.where(np.isfinite(value), value, 0.0), -NUMBER_AT_MOST, NUMBER_AT_MOST)


def _error(text: str, error: Exception) -> ExpressionError:
    fields = [f"item.{field}" for field in ITEM_FIELDS] + [f"session.{field}" for field in SESSION_FIELDS]
    return ExpressionError(
        f"`{text}` cannot be used: {error}. Fields are {', '.join(fields)}; "
        f"functions {', '.join([*_FUNCTIONS, *_EXTREMES])}; "
        "and, or, not, comparisons, + - * /, `a if b else c`"
    )
