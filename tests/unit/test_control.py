"""What is in force is what the topics say: the same for who has read all of them and for who reads what is left."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import estimates

from streaming.control.catalogue import Catalogue, unknown_to_any_model
from streaming.control.state import ControlState
from streaming.records import encode
from streaming.schemas import DeadLetter, Item, ItemEstimate, Objective, Origin, Policy, Topic

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
Record = tuple[Topic, str, bytes | None]


def policy(version: int, scope: str = "global", **fields: object) -> Record:
    return Topic.POLICIES, scope, encode(Policy(scope=scope, version=version, author="a", **fields))  # type: ignore[arg-type]


def item(stock: int = 5, item_id: str = "i") -> Record:
    return Topic.ITEMS, item_id, encode(Item(item_id=item_id, name="n", category="c", stock=stock, merchant="m"))


SOLD_OUT = Topic.ITEMS, "i", b'{"item_id":"i","name":"n","category":"c","stock":-1}'
BROKEN = Topic.ITEMS, "i", b'{"item_id":"i","name":"n"}'
GONE = Topic.ITEMS, "i", None
OF_OUTCOMES = (
    Topic.ESTIMATES,
    "outcomes",
    encode(estimates(model_version="m", items={"i": ItemEstimate(2.0, 0.1, 1.0)})),
)
UNREADABLE = Topic.ESTIMATES, "outcomes", b"{}"
REFUSED = policy(9, objectives={"bad": Objective(expression="item.nothing")})


def state() -> ControlState:
    return ControlState(Catalogue(unknown_to_any_model(["i", "j"])), "m")


def read(records: list[tuple[int, Record]]) -> tuple[ControlState, list[tuple[int, Record]]]:
    """Return what is in force after `records`, and them with what the job has written behind those it refused."""
    control, log = state(), list(records)
    end = max((offset for offset, _ in records), default=-1) + 1
    for offset, (topic, key, raw) in log:
        letter = control.apply(key, raw, Origin(topic, 0, offset))
        stays = control.table.written(key) if topic is Topic.POLICIES else None
        if isinstance(letter, DeadLetter) and stays is not None:
            log.append((end, (Topic.POLICIES, key, encode(stays))))
            end += 1
    return control, log


def compacted(log: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    newest = {(topic, key): offset for offset, (topic, key, _) in log}
    return [(offset, record) for offset, record in log if newest[record[0], record[1]] == offset]


def in_force(control: ControlState) -> object:
    return (
        control.table.policies,
        control.table.version,
        control.catalogue.available.tolist(),
        control.catalogue.stock.tolist(),
        control.catalogue.item("i"),
        control.estimates.version,
        control.estimates.of(np.arange(len(control.catalogue.ids))).lift.tolist(),
    )


@given(
    st.lists(
        st.sampled_from(
            [
                item(),
                item(7),
                item(3, "j"),
                SOLD_OUT,
                BROKEN,
                GONE,
                OF_OUTCOMES,
                UNREADABLE,
                REFUSED,
                *[policy(version, scope) for version in (2, 3, 5) for scope in ("global", "surface:a", "merchant:m")],
                (Topic.POLICIES, "surface:a", None),
                (Topic.POLICIES, "global", b"{"),
            ]
        ),
        max_size=12,
    )
)
def test_job_that_starts_after_compaction_has_the_same_in_force(records: list[Record]) -> None:
    control, log = read(list(enumerate(records)))
    later, _ = read(compacted(log))
    assert in_force(later) == in_force(control)


@pytest.mark.parametrize("record", [SOLD_OUT, BROKEN, GONE])
def test_item_that_is_sold_out_refused_or_gone_is_not_on_sale(record: Record) -> None:
    control, _ = read(list(enumerate([item(), record])))
    assert not control.catalogue.available.any()


def test_policy_of_a_merchant_without_items_is_taken_whatever_is_on_sale() -> None:
    before, _ = read(list(enumerate([policy(2, "merchant:m"), item()])))
    after, _ = read(list(enumerate([item(), policy(2, "merchant:m")])))
    assert in_force(before) == in_force(after)
    assert "merchant:m" in before.table.policies
