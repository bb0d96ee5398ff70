"""What the model says for each slate of a bundle: one call for all that can share it."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.interaction import KIND_NUMBER, Kind
from features.session import Session
from streaming.control.catalogue import Catalogue
from streaming.schemas import Fallback, Request
from streaming.scoring.model import ModelOutput, SessionModel
from streaming.scoring.selection import Selection

ASKED_AT_MOST = 1_000  # items of a selection, as many as a request may give; of more the graph searches the best

_PURCHASE = KIND_NUMBER[Kind.PURCHASE]


class ModelAsk(NamedTuple):
    """What the model is asked for one slate."""

    clicked: Sequence[str]  # as `clicked_items` has it
    selection: Selection | None = None  # what alone may be answered; None for all that is available


def clicked_items(session: Session) -> list[str]:
    """Return what was clicked in this session, oldest first, as the models are trained on it: without purchases."""
    of_session = slice(-session.length, None)
    return [
        item
        for item, kind in zip(session.recent_items[of_session], session.recent_kinds[of_session], strict=True)
        if kind != _PURCHASE
    ]


def clicked_at_request(session: Session, request: Request) -> list[str]:
    """Return what the model is asked with for a request, oldest first.

    What lies in the cart and was not clicked in this session was clicked before, and the item of the page is now.
    """
    clicked = clicked_items(session)
    clicked = [item for item in dict.fromkeys(request.cart) if item not in clicked] + clicked
    if request.context_item is not None and clicked[-1:] != [request.context_item]:
        clicked.append(request.context_item)
    return clicked


def known_session(clicked: Sequence[str], model: SessionModel) -> list[int]:
    """Return the item indices of the clicked items that the model knows, oldest first: what it is asked with."""
    return [model.index_of[item] for item in clicked if item in model.index_of]


class _Place(NamedTuple):
    """Of what one slate asks, in the call of its bundle."""

    row: int
    items: NDArray[np.int64] | None  # (A,) of the selection; None: the best of all are wanted
    first: int  # of these items, in the row's
    at_most: int  # of them, the likeliest, are wanted


class _Call:
    """What the model is asked for a bundle: sessions that are alike are one row, up to ASKED_AT_MOST items of it."""

    def __init__(self) -> None:
        self._sessions: list[list[int]] = []  # of each row
        self._asked_items: list[list[int]] = []  # of each row
        self._row_of: dict[tuple[int, ...], int] = {}  # the newest of a session

    def add(self, session: list[int], items: NDArray[np.int64] | None, at_most: int) -> _Place:
        row, count = self._row_of.get(tuple(session)), 0 if items is None else len(items)
        if row is None or len(self._asked_items[row]) + count > ASKED_AT_MOST:
            row = self._row_of[tuple(session)] = len(self._sessions)
            self._sessions.append(session)
            self._asked_items.append([])
        of_row = self._asked_items[row]
        first = len(of_row)
        if items is not None:
            of_row += items.tolist()
        return _Place(row, items, first, at_most)

    def run(self, model: SessionModel, available: NDArray[np.bool_]) -> list[ModelOutput | None]:
        asked_items = self._asked_items if any(self._asked_items) else None
        return model.next_items_many(self._sessions, available, asked_items)


def model_answers(
    asks: Sequence[ModelAsk], model: SessionModel, catalogue: Catalogue
) -> tuple[list[ModelOutput | Fallback], int]:
    """Return what the model says of each session, or why it says nothing; and the ns that it took for all.

    It is asked once for all of them, and in the same call about the items of selections. One that is too large for
    that, or whose model cannot be asked so, is a call of its own: of what it may answer a call knows one mask.
    """
    sessions = [known_session(ask.clicked, model) for ask in asks]
    began = time.perf_counter_ns()
    call, places = _Call(), list[_Place | None]()
    for session, (_, selection) in zip(sessions, asks, strict=True):
        items = None if selection is None else _items_to_ask(selection, model, catalogue)
        apart = not session or (selection is not None and items is None)
        is_listing = selection is not None and selection.given is None
        at_most = model.manifest.candidate_count if is_listing else ASKED_AT_MOST
        places.append(None if apart else call.add(session, items, at_most))
    outputs = call.run(model, catalogue.available_known)
    answers: list[ModelOutput | Fallback] = []
    for session, (clicked, selection), place in zip(sessions, asks, places, strict=True):
        if not session:
            answers.append(Fallback.UNKNOWN_TO_MODEL if clicked else Fallback.EMPTY_SESSION)
            continue
        output: ModelOutput | None
        if place is not None:
            output = _answer_about(place, outputs[place.row])
        else:
            assert selection is not None, clicked
            output = _answer_within(session, selection, model, catalogue)
        answers.append(output or Fallback.MODEL_FAILED)
    return answers, time.perf_counter_ns() - began


def _items_to_ask(selection: Selection, model: SessionModel, catalogue: Catalogue) -> NDArray[np.int64] | None:
    """Return (A,) the items of a selection that the model is asked about; None if it cannot be, or of too many."""
    if not model.takes_asked_items:
        return None
    if selection.given is not None:
        return selection.given[selection.given < catalogue.first_cold]
    within = selection.within[: catalogue.first_cold]
    return np.flatnonzero(within) if np.count_nonzero(within) <= ASKED_AT_MOST else None


def _answer_about(place: _Place, output: ModelOutput | None) -> ModelOutput | None:
    """Return what the model says of the items that it was asked about, likeliest first; its best, if of none."""
    items = place.items
    if output is None or items is None:
        return output
    assert output.asked_logits is not None, "of a model that takes asked items"
    of_place = slice(place.first, place.first + len(items))
    logits = output.asked_logits[of_place]
    best = np.argsort(-logits, kind="stable")[: place.at_most]
    purchase = None if output.asked_purchase is None else output.asked_purchase[of_place][best]
    return output._replace(items=items[best], logits=logits[best], purchase=purchase)


def _answer_within(
    session: list[int], selection: Selection, model: SessionModel, catalogue: Catalogue
) -> ModelOutput | None:
    """Return the model's likeliest items of a selection, of candidates that were given all; None where it fails."""
    known = selection.within[: catalogue.first_cold]
    parts, at_once = [known], model.manifest.candidate_count
    if selection.given is not None and len(selection.given) > at_once:
        parts = []
        for first in range(0, len(selection.given), at_once):
            part, given = np.zeros_like(known), selection.given[first : first + at_once]
            part[given[given < len(part)]] = True
            parts.append(part)
    outputs = [model.next_items_many([session], part)[0] for part in parts]
    answered = [_only(output, part) for output, part in zip(outputs, parts, strict=True) if output is not None]
    if len(answered) < len(parts):
        return None
    logits = np.concatenate([output.logits for output in answered])
    best = np.argsort(-logits, kind="stable")
    purchases = [output.purchase for output in answered if output.purchase is not None]
    return answered[0]._replace(
        items=np.concatenate([output.items for output in answered])[best],
        logits=logits[best],
        purchase=np.concatenate(purchases)[best] if purchases else None,
    )


def _only(output: ModelOutput, part: NDArray[np.bool_]) -> ModelOutput:
    """Return those answers that are in `part` (V+1,)."""
    of_part = part[output.items]
    purchase = None if output.purchase is None else output.purchase[of_part]
    return output._replace(items=output.items[of_part], logits=output.logits[of_part], purchase=purchase)
