"""What an operator may write as an objective or as the condition of a segment: `item.margin > 0.3 and item.stock > 5`.

simpleeval walks an expression once, when it is read: nothing but arithmetic on the fields below can be said. What it
has walked is compiled, which is three times as fast as to walk it for each slate. Everything is evaluated for all
candidates at once, so operators and functions are numpy's.
"""

import ast
import operator
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpleeval import InvalidExpression, SimpleEval

from features.errors import ExpressionError

ITEM_FIELDS = {
    "price": "of one piece; 0 where the shop does not say",
    "margin": "share of the price that the shop keeps; 1 where the shop does not say",
    "stock": "pieces",
    "popularity": "in [0, 1], as the model's log has it",
    "cheaper": "share of the items that are cheaper, in [0, 1)",
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
    "price_centre": "where the shopper's prices lie among those of their categories, in [0, 1]",
}
LENGTH_AT_MOST = 500
Fields = dict[str, Any]  # of items: arrays (K,); of a session: numbers


_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.USub: operator.neg}
_FUNCTIONS = {"log1p": np.log1p, "exp": np.exp, "sqrt": np.sqrt, "abs": np.abs, "min": np.minimum, "max": np.maximum}
# Python asks a whole array for its truth; numpy's functions take each element's.
_ELEMENTWISE: dict[type[ast.AST], tuple[str, Any]] = {
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
_CALLED = _FUNCTIONS | dict(_ELEMENTWISE.values())
_NODES = (ast.Expr, ast.Constant, ast.UnaryOp, ast.BinOp, ast.Call, ast.Name, ast.Attribute)


class _Elementwise(ast.NodeTransformer):
    """Makes calls of all that has to be done element by element."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        sides = [self.visit(part) for part in (node.left, *node.comparators)]
        compared: list[ast.expr] = [_call(op, pair) for op, *pair in zip(node.ops, sides, sides[1:], strict=False)]
        return _joined(ast.And(), compared)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        return _joined(node.op, [self.visit(value) for value in node.values])

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return _call(node, [self.visit(part) for part in (node.test, node.body, node.orelse)])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        return _call(node.op, [left, right]) if isinstance(node.op, ast.Div) else ast.BinOp(left, node.op, right)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        inner = self.visit(node.operand)
        return _call(node.op, [inner]) if isinstance(node.op, ast.Not) else ast.UnaryOp(node.op, inner)


def _call(of: ast.AST, arguments: list[ast.expr]) -> ast.expr:
    if type(of) not in _ELEMENTWISE:
        msg = f"{type(of).__name__} is not available"
        raise InvalidExpression(msg)
    return ast.Call(ast.Name(_ELEMENTWISE[type(of)][0], ast.Load()), arguments, [])


def _joined(by: ast.AST, nodes: list[ast.expr]) -> ast.expr:
    return reduce(lambda before, node: _call(by, [before, node]), nodes)


class _Indexed(ast.NodeTransformer):
    """`item.price` of what has been checked -> `item["price"]`."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return ast.Subscript(node.value, ast.Constant(node.attr), ast.Load())


class Expression:
    """A checked expression. Raises ExpressionError where it cannot be used."""

    def __init__(self, text: str) -> None:
        self._text = text
        if len(text) > LENGTH_AT_MOST:
            msg = f"an expression of {len(text)} characters, at most {LENGTH_AT_MOST} are read"
            raise ExpressionError(msg)
        fields = {dict: {*ITEM_FIELDS, *SESSION_FIELDS}}  # no other attribute: an array has methods that write files
        checking = SimpleEval(operators=_OPERATORS, functions=_CALLED, allowed_attrs=fields)
        checking.nodes = {kind: checking.nodes[kind] for kind in _NODES}
        checking.names = {"item": _EXAMPLE_ITEMS, "session": _EXAMPLE_SESSION}
        try:
            parsed = _Elementwise().visit(checking.parse(text))
            with np.errstate(all="ignore"):  # no branch is left out, so this has seen all that will ever run
                np.asarray(checking.eval(text, parsed), dtype=np.float64)
        except (InvalidExpression, SyntaxError, RecursionError, ArithmeticError, TypeError, ValueError) as error:
            raise self._error(error) from error
        self.item_fields = {
            node.attr
            for node in ast.walk(parsed)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "item"
        }
        indexed = ast.fix_missing_locations(ast.Expression(_Indexed().visit(parsed).value))
        self._code = compile(indexed, "expression", "eval")

    def __call__(self, item: Fields, session: Fields) -> NDArray[np.float64]:
        """Return the value, () or (K,), finite: where there is none, as of 1 / 0, it is 0."""
        with np.errstate(all="ignore"):
            result = eval(self._code, _GLOBALS, {"item": item, "session": session})  # checked above, node by node
        value = np.asarray(result, dtype=np.float64)
        is_finite = np.isfinite(value)
        return value if is_finite.all() else np.where(is_finite, value, 0.0)

    def _error(self, error: Exception) -> ExpressionError:
        fields = [f"item.{field}" for field in ITEM_FIELDS] + [f"session.{field}" for field in SESSION_FIELDS]
        return ExpressionError(
            f"`{self._text}` cannot be used: {error}. Fields are {', '.join(fields)}; "
            f"functions {', '.join(_FUNCTIONS)}; "
            "and, or, not, comparisons, + - * /, `a if b else c`"
        )


_GLOBALS: dict[str, Any] = {"__builtins__": {}} | _CALLED
_TEXTS = ("category", "brand", "merchant")
_EXAMPLE_ITEMS: Fields = {
    field: np.array(["", "x"], dtype=object) if field in _TEXTS else np.array([0.0, 1.0]) for field in ITEM_FIELDS
}
_EXAMPLE_SESSION: Fields = dict.fromkeys(SESSION_FIELDS, 1.0)
