"""State of one key, in a dictionary, and what is joined by it."""

from collections.abc import Iterator

from streaming.policy.attribution import Attribution, Feedback, FeedbackStatus
from streaming.schemas import Outcome, Recommendation, encode


def feed(
    attribution: Attribution, message: Recommendation | Feedback
) -> Iterator[tuple[FeedbackStatus, Outcome | None]]:
    """Yield what becomes of a slate or of a piece of feedback."""
    if isinstance(message, Recommendation):
        return attribution.slate(message.rec_id, encode(message))
    return attribution.feedback(message)
