"""Which policies are taken, and which of them weighs a slate."""

import re

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from features.errors import PolicyError
from streaming.control.policies import Turned, begun, refuse_if_moved, stamped, taken
from streaming.policy import kernels
from streaming.policy.check import validate
from streaming.policy.objectives import Calibration, intercept_of, logit, sigmoid
from streaming.policy.table import PolicyTable
from streaming.schemas import DEFAULT_POLICY, Policy


def policy(**fields: object) -> Policy:
    return msgspec.convert({"version": 2, "author": "test"} | fields, Policy)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": 1}, "version 1 is not newer than 1"),
        (
            {"weights": {"fame": 1.0, "relevance": 1.0}},
            "no objective is called fame; there are bid, complement, conversion, match",
        ),
        ({"weights": {"relevance": 0.0}}, "all weights are 0"),
        ({"weights": {}}, "all weights are 0"),
        ({"exploration": {"temperature": 0.001}}, r"temperature is 0.001; expected 0, or from 0\.01 on"),
        ({"objectives": {"relevance": {"expression": "1"}}}, "the objective relevance is there already"),
        ({"objectives": {"mine": {"expression": "item.colour"}}}, "`item.colour` cannot be used"),
        ({"scope": "merchant:nobody"}, "no item on sale has the merchant 'nobody'"),
        ({"scope": "merchant:m", "diversity": 0.1}, "weights alone"),
        ({"scope": "merchant:m", "satiation": {"weight": 0.1}}, "weights alone"),
        ({"scope": "merchant:m", "exploration": {"budget": 0.1}}, "weights alone"),
        ({"constraints": {"c": {"measure": "clicks"}}}, "constraints.c: expected at_least, at_most, or both"),
        (
            {"constraints": {"c": {"measure": "clicks", "at_least": 2, "at_most": 1}}},
            "constraints.c: at_least 2 is more than at_most 1",
        ),
        (
            {"constraints": {"c": {"measure": "exposure", "at_least": 0.1}}},
            "a merchant is what an exposure or a spend is about",
        ),
        ({"constraints": {"c": {"measure": "clicks", "merchant": "m", "at_least": 1}}}, "expected there and nowhere"),
        (
            {"constraints": {"c": {"measure": "exposure", "merchant": "nobody", "at_least": 0.1}}},
            "no item on sale has the merchant 'nobody'",
        ),
        ({"constraints": {"c": {"measure": "exposure", "merchant": "m", "at_most": 2}}}, r"a share, in \[0, 1\]"),
        (
            {"constraints": {name: {"measure": "exposure", "merchant": "m", "at_least": 0.6} for name in ("a", "b")}},
            "1.2 of all together",
        ),
        (
            {"scope": "segment:a", "when": "1", "constraints": {"c": {"measure": "clicks", "at_least": 1}}},
            "constraints are held for a surface or for all slates",
        ),
        ({"duals": {"c": 1.0}}, "a controller's"),
        ({"scope": "experiment:new"}, "`share` is how many shoppers an experiment is for"),
        ({"share": 0.5}, "`share` is how many shoppers an experiment is for"),
        ({"scope": "segment:new"}, "`when` is what makes a segment"),
        ({"when": "session.length < 2"}, "`when` is what makes a segment"),
        ({"scope": "segment:new", "when": "item.price > 2"}, "asks for an item"),
        ({"scope": "segment:new", "when": "session.length <"}, "cannot be used"),
    ],
)
def test_policy_that_cannot_be_used_is_refused_in_one_message(fields: dict[str, object], words: str) -> None:
    assert re.search(words, validate(policy(**fields), 1, {"m"}) or "taken")


@pytest.mark.parametrize("fields", [{}, {"scope": "merchant:m"}, {"scope": "segment:a", "when": "session.drift > 0.5"}])
def test_policy_that_can_be_used_is_not_refused(fields: dict[str, object]) -> None:
    assert validate(policy(**fields), 1, {"m"}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": {"relevance": float("nan")}},
        {"weights": {"relevance": -1.0}},
        {"diversity": float("nan")},
        {"exploration": {"temperature": -0.1}},
        {"exploration": {"budget": 1.5}},
        {"objectives": {"mine": {"expression": "1", "scale": 0.0}}},
    ],
)
def test_number_that_is_none_does_not_decode(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError, match="Expected `float`"):
        policy(**fields)


@pytest.mark.parametrize("scope", ["everywhere", "surface:", "Global", "segment"])
def test_scope_that_is_none_does_not_decode(scope: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="scope"):
        policy(scope=scope)


def test_table_names_all_policies_by_the_highest_version_and_gives_the_default_back() -> None:
    table = PolicyTable().put(policy(version=4)).put(policy(scope="surface:cart", version=7))
    assert (PolicyTable().version, table.version) == (1, 7)
    assert table.of("cart", {}, "s").policy.version == 7
    assert table.of("home", {}, "s").policy.version == 4
    assert table.remove("surface:cart").version == 4
    assert table.remove("global").of("home", {}, "s").policy is DEFAULT_POLICY
    assert table.written("global") is not None
    assert PolicyTable().written("global") is None


def test_version_of_what_was_taken_back_is_not_given_again() -> None:
    turned = Turned([], PolicyTable())
    for scope, turn in (("global", policy(version=4)), ("surface:cart", policy(scope="surface:cart", version=7))):
        turned = taken(turned, scope, turn, {})
    turned = taken(turned, "surface:cart", None, {"author": "mary"})
    assert (turned.table.version, turned.newest) == (4, 7)
    # Compaction leaves the tombstone and no word of what it took back, 30 days later.
    assert taken(Turned([], PolicyTable()), "surface:cart", None, {}).newest == 1


def test_controllers_add_to_the_weights_of_the_constraints_that_the_policy_still_has() -> None:
    constraints = {
        "revenue": {"measure": "revenue", "at_least": 1.0},
        "clicks": {"measure": "clicks", "at_most": 1.0},
        "share": {"measure": "exposure", "merchant": "m", "at_least": 0.2},
    }
    duals = {"revenue": 0.5, "clicks": -9.0, "share": 0.25, "gone": 3.0}
    table = PolicyTable().put(policy(constraints=constraints, weights={"relevance": 1.0, "revenue": 0.1}))
    turned = table.put(policy(scope="controller:global", version=1, duals=duals))
    plan = turned.of("home", {}, "s")
    assert (plan.names, plan.weights.tolist()) == (("relevance", "revenue"), [[0.01, 0.6], [0.01, 0.6]])
    assert plan.merchants == {"m": 1}
    assert plan.boosts is not None
    assert plan.boosts.tolist() == [0.0, 0.25]
    assert (turned.version, turned.policies["controller:global"].version) == (2, 1)
    off = turned.put(policy(version=3, weights={"relevance": 1.0, "revenue": 0.1}))
    assert (off.of("home", {}, "s").names, off.of("home", {}, "s").boosts) == (("relevance", "revenue"), None)
    assert off.of("home", {}, "s").weights.tolist() == [[1.0, 0.1]]


def test_first_segment_by_name_counts_whose_condition_holds() -> None:
    table = PolicyTable()
    for scope, when in (("segment:b", "1"), ("segment:a", "session.length > 3")):
        table = table.put(policy(scope=scope, when=when))
    assert table.of("home", {"length": 2}, "s").policy.scope == "segment:b"
    assert table.of("home", {"length": 4}, "s").policy.scope == "segment:a"


def test_intercept_gives_the_click_rate_that_is_asked_for() -> None:
    logits = np.random.default_rng(0).normal(scale=4.0, size=500).astype(np.float32)
    assert sigmoid(intercept_of(logits, 0.1) + logits.astype(float)).mean() == pytest.approx(0.1)


def clicked(calibration: Calibration, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    count = len(logits)
    ones, chances = np.ones(count), np.empty(count)
    index = np.zeros(count, dtype=np.int64)
    weigh_nothing = kernels.NO_INDEX, kernels.NO_TABLE, np.zeros((1, 0)), kernels.NO_INDEX, index, kernels.NONE
    of_items = ones, ones, ones, kernels.NO_INDEX
    of_clicks = calibration.intercept, calibration.slope, calibration.click_rate
    averages, no_bids = (1.0, 1.0, 1.0), (kernels.NONE, 0.0, 1.0)
    out = np.empty((count, 0)), chances, np.empty(count)
    kernels.score(
        index, logits, kernels.NONE, ones, ones, *weigh_nothing, *of_items, *of_clicks, *averages, *no_bids, *out
    )
    return chances


def test_calibration_keeps_what_needs_none_and_moves_the_rest_in_order() -> None:
    predicted = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(clicked(Calibration(), logit(predicted)), predicted)
    moved = clicked(Calibration(-1.0, 0.5), logit(predicted))
    assert np.all(np.diff(moved) > 0)
    np.testing.assert_allclose(logit(moved), -1.0 + 0.5 * logit(predicted))


def test_an_experiment_is_for_its_share_of_the_shoppers_whatever_else_applies_to_them() -> None:
    table = PolicyTable()
    for version, fields in enumerate(
        ({"scope": "experiment:x", "share": 0.25}, {"scope": "segment:a", "when": "1"}), start=2
    ):
        table = table.put(policy(**fields | {"version": version}))
    scopes = [table.of("home", {}, f"s{n}").policy.scope for n in range(4_000)]
    assert scopes.count("experiment:x") / len(scopes) == pytest.approx(0.25, abs=0.03)
    assert set(scopes) == {"experiment:x", "segment:a"}
    assert table.of("home", {}, "").policy.scope == "segment:a"  # who has not consented is no part of it


def test_new_scope_begins_with_what_it_shadows_and_not_with_nothing() -> None:
    everywhere = policy(
        weights={"relevance": 1.0, "mine": 0.2},
        objectives={"mine": {"expression": "item.margin"}},
        diversity=0.3,
        constraints={"floor": {"measure": "revenue", "at_least": 1}},
    )
    table = PolicyTable().put(everywhere)
    for scope, of_their_own in (("experiment:bold", {"share": 0.5}), ("segment:new", {"when": "session.evidence < 5"})):
        begins = begun(scope, table)
        assert (begins["scope"], begins["weights"], begins["diversity"]) == (scope, everywhere.weights, 0.3)
        assert "constraints" not in begins  # which would be held for these shoppers alone, and cannot be
        assert validate(stamped(begins | of_their_own, table.version, "me"), 2, ()) is None
    assert begun("surface:home", table)["constraints"].keys() == {"floor"}
    assert begun("surface:search", table)["weights"] == {"match": 1.0, "relevance": 0.3}  # not the global's
    assert begun("merchant:m", table) == {"scope": "merchant:m", "weights": {"relevance": 1.0}, "objectives": {}}
    assert validate(stamped(begun("merchant:m", table), table.version, "me"), 2, ("m",)) is None


def test_table_names_the_policies_that_count_instead() -> None:
    table = PolicyTable()
    for scope, more in (
        ("surface:home", {}),
        ("segment:new", {"when": "session.evidence < 5"}),
        ("experiment:a", {"share": 0.1}),
        ("experiment:b", {"share": 0.1}),
        ("merchant:m", {}),
    ):
        table = table.put(policy(scope=scope, **more))
    assert table.ahead_of("global") == ["experiment:a", "experiment:b", "segment:new", "surface:home"]
    assert table.ahead_of("surface:cart") == ["experiment:a", "experiment:b", "segment:new"]
    assert table.ahead_of("experiment:b") == ["experiment:a"]
    assert table.ahead_of("experiment:a") == table.ahead_of("merchant:m") == []


def test_change_that_was_made_from_another_version_is_refused_by_name() -> None:
    table = PolicyTable().put(policy(scope="surface:home", version=5, author="mary"))
    refuse_if_moved("surface:home", 5, table)
    refuse_if_moved("surface:cart", 0, table)
    refuse_if_moved("global", 0, table)  # the default one is nobody's
    with pytest.raises(PolicyError, match="surface:home is at version 5, which mary turned; the change was made from "):
        refuse_if_moved("surface:home", 4, table)
    with pytest.raises(PolicyError, match="surface:cart has no policy any more; the change was made from version 3"):
        refuse_if_moved("surface:cart", 3, table)


def test_turn_says_why_and_does_not_inherit_the_reason_of_another() -> None:
    first = stamped({"weights": {"relevance": 1.0}}, 1, "me", "for the sale")
    assert (first.note, first.version) == ("for the sale", 2)
    again = stamped(msgspec.to_builtins(first), first.version, "me")
    assert (again.note, again.version) == ("", 3)
