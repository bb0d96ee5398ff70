"""What an operator may write as an objective or as the condition of a segment: `item.margin > 0.3 and item.stock > 5`.

simpleeval walks the expression; nothing but arithmetic on the fields below can be said. Everything is evaluated for
all candidates of a slate at once, so operators and functions are numpy's.
"""

import ast
import operator
import threading
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpleeval import InvalidExpression, SimpleEval

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


class ExpressionError(ValueError):
    """An expression cannot be used; the message says why and what can be said."""


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.USub: operator.neg,
    ast.Not: np.logical_not,
}
_COMPARISONS = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS = {"log1p": np.log1p, "exp": np.exp, "sqrt": np.sqrt, "abs": np.abs, "min": np.minimum, "max": np.maximum}


class _Evaluator(SimpleEval):  # type: ignore[misc]  # it has no types
    """Truth is element by element, so `and`, `or`, comparisons and `if` are numpy's too."""

    def __init__(self) -> None:
        # No attribute but the fields: an array has methods that write files.
        super().__init__(
            operators=_OPERATORS, functions=_FUNCTIONS, allowed_attrs={dict: {*ITEM_FIELDS, *SESSION_FIELDS}}
        )
        self.nodes = {
            ast.Expr: self._eval_expr,
            ast.Constant: self._eval_constant,
            ast.UnaryOp: self._eval_unaryop,
            ast.BinOp: self._eval_binop,
            ast.Call: self._eval_call,
            ast.Name: self._eval_name,
            ast.Attribute: self._eval_attribute,
            ast.BoolOp: self._eval_truth,
            ast.Compare: self._eval_comparison,
            ast.IfExp: self._eval_choice,
        }

    def _eval_truth(self, node: ast.BoolOp) -> Any:
        joined = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return reduce(joined, [self._eval(each) for each in node.values])

    def _eval_comparison(self, node: ast.Compare) -> Any:
        values = [self._eval(each) for each in (node.left, *node.comparators)]
        compared = []
        for each, left, right in zip(node.ops, values, values[1:], strict=False):
            if type(each) not in _COMPARISONS:
                msg = f"`{ast.unparse(node)}`: compare with <, <=, >, >=, == or !="
                raise InvalidExpression(msg)
            compared.append(_COMPARISONS[type(each)](left, right))
        return reduce(np.logical_and, compared)

    def _eval_choice(self, node: ast.IfExp) -> Any:
        return np.where(self._eval(node.test), self._eval(node.body), self._eval(node.orelse))


class Expression:
    """A parsed expression. Raises ExpressionError where it cannot be used."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._evaluator, self._lock = _Evaluator(), threading.Lock()
        if len(text) > LENGTH_AT_MOST:
            msg = f"an expression of {len(text)} characters, at most {LENGTH_AT_MOST} are read"
            raise ExpressionError(msg)
        try:
            self._parsed = self._evaluator.parse(text)
        except (InvalidExpression, SyntaxError) as error:
            raise self._error(error) from error
        self.item_fields = {
            each.attr
            for each in ast.walk(self._parsed)
            if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "item"
        }
        self(_EXAMPLE_ITEMS, _EXAMPLE_SESSION)

    def __call__(self, item: Fields, session: Fields) -> NDArray[np.float64]:
        """Return the value, () or (K,), finite: where there is none, as of 1 / 0, it is 0. Thread-safe."""
        try:
            with self._lock, np.errstate(all="ignore"):
                self._evaluator.names = {"item": item, "session": session}
                value = np.asarray(self._evaluator.eval(self._text, self._parsed), dtype=np.float64)
        except (InvalidExpression, ArithmeticError, TypeError, ValueError) as error:
            raise self._error(error) from error
        is_finite = np.isfinite(value)
        return value if is_finite.all() else np.where(is_finite, value, 0.0)

    def _error(self, error: Exception) -> ExpressionError:
        return ExpressionError(
            f"`{self._text}` cannot be used: {error}. Fields are {', '.join(f'item.{each}' for each in ITEM_FIELDS)}, "
            f"{', '.join(f'session.{each}' for each in SESSION_FIELDS)}; functions {', '.join(_FUNCTIONS)}; "
            "and, or, not, comparisons, + - * /, `a if b else c`"
        )


_TEXTS = ("category", "brand", "merchant")
_EXAMPLE_ITEMS: Fields = {
    each: np.array(["", "x"], dtype=object) if each in _TEXTS else np.array([0.0, 1.0]) for each in ITEM_FIELDS
}
_EXAMPLE_SESSION: Fields = dict.fromkeys(SESSION_FIELDS, 1.0)
