"""What a shopper who comes back is shown: the measurement runs, and says what it says for a reason."""

import pytest
from rich.console import Console
from support.data import JDATA, needs_data

from infra.bench.returning import measure


@needs_data
def test_interests_tell_more_than_what_is_popular(capsys: pytest.CaptureFixture[str]) -> None:
    figures = measure(JDATA, Console())
    assert figures["visits"] > 200
    assert figures["first_by_interest"] > 2 * figures["first_popular"]
    assert figures["any_by_interest"] > 2 * figures["any_popular"]
    assert "visits of shoppers who had been there" in capsys.readouterr().out
