"""What an explanation says in sentences: names beside ids, and no chance as 0 that is not."""

from typing import Any

import pytest

from streaming.offline.explanation import REASONS, Explanation, in_words, percent
from streaming.schemas import ClickInfluence, Policy, ReasonCode


def explained(**changes: Any) -> Explanation:
    fields: dict[str, Any] = {
        "rec_id": "r",
        "shopper_id": "s-1",
        "event_time_ms": 1,
        "place": 2,
        "item_id": "i050",
        "says": [],
        "names": {"i050": "Amber Tea", "i030": "Oak Chair"},
        "reason": "relevant",
        "score": 1.0,
        "parts": {"relevance": 1.2, "diversity": -0.2},
        "propensity": 0.93,
        "explored": False,
        "rule": None,
        "capped": {},
        "bid": None,
        "exploration_rate": 0.1,
        "uncertainty": 0.5,
        "policy_version": 3,
        "policy_scope": "global",
        "policy": Policy(version=3, author="me"),
        "fallback": "none",
        "predicted": 0.12,
        "known_to_model": True,
        "clicks": [ClickInfluence("i030", 1, 0.09)],
    }
    return Explanation(**(fields | changes))


def test_sentences_name_items_and_say_what_the_place_is_made_of() -> None:
    assert in_words(explained()) == [
        "Amber Tea (i050) stands at place 2 of the slate for s-1: it fits what was clicked in this session.",
        "Its score there is +1.000: relevance +1.200, diversity -0.200.",
        "It was weighed by me's policy of version 3 (global); places explore with chance 10 %, and it had the chance "
        "0.93 of its place, given those before it.",
        "The model expects a click with 12 % where it is looked at; without the click on Oak Chair (i030) it is 3 %.",
    ]
    rounds_to_none = in_words(explained(score=-1e-9, parts={"relevance": 0.2, "revenue": -0.2, "diversity": -1e-9}))
    assert rounds_to_none[1] == "Its score there is +0.000: relevance +0.200, revenue -0.200."
    gone = in_words(explained(names={}, policy=None, exploration_rate=0.0))
    assert gone[0].startswith("i050 stands at place 2")
    assert "weighed by the default policy (global); it had" in gone[2]


def test_what_was_seen_too_often_for_the_slate_is_named_with_its_rule() -> None:
    says = in_words(explained(capped={"i030": "often", "gone": "banner"}))
    assert says[-1] == "Seen too often by s-1 to be in this slate: Oak Chair (i030) (`often`), gone (`banner`)."


def test_what_fits_little_is_not_said_to_fit() -> None:
    little = in_words(explained(predicted=0.00002))
    assert "it fits what was clicked, though little, and nothing else speaks more for it" in little[0]
    assert not any(" 0 %" in sentence.replace("next to 0 %", "") for sentence in little)
    assert in_words(explained(clicks=[], known_to_model=False))[-1].startswith("The model does not know it")
    assert (
        "not asked (empty_session)" in in_words(explained(clicks=[], known_to_model=None, fallback="empty_session"))[-1]
    )


def test_every_reason_has_its_words() -> None:
    assert set(REASONS) == set(ReasonCode)


@pytest.mark.parametrize(
    ("chance", "words"),
    [
        (0.0, "next to 0 %"),
        (0.00002, "next to 0 %"),
        (0.0004, "0.04 %"),
        (0.012, "1.2 %"),
        (0.5, "50 %"),
        (-0.02, "-2 %"),
    ],
)
def test_chance_is_said_as_far_as_it_tells(chance: float, words: str) -> None:
    assert percent(chance) == words
