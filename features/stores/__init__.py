"""Feast's online stores. Imported before Feast, which it spares three quarters of its import.

Feast has typeguard rewrite its classes while they are imported, so that they check their arguments: 6 of 8 s of a core
in each process that asks it. Its definitions are made from `features.spec` here, and mypy has seen them (ADR 0059).
"""

from typing import TypeVar

import typeguard

T = TypeVar("T")


def _unchecked(target: T) -> T:
    return target


_checked, typeguard.typechecked = typeguard.typechecked, _unchecked  # type: ignore[assignment]
import feast  # noqa: E402, F401

typeguard.typechecked = _checked
