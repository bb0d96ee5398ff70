"""What is on sale and how it is weighed, followed beside the stream: for those whom the stream does not answer."""

import logging

from features.extraction import extract_row
from features.shopper import new, view
from streaming.config import Cluster
from streaming.control.catalogue import Catalogue
from streaming.control.state import ControlState
from streaming.io.tail import Following, at_the_end
from streaming.io.topics import Headers
from streaming.schemas import Fallback, Origin, Request, SlateItem, Topic
from streaming.scoring.model import SessionModel
from streaming.scoring.selection import excluded, extra_candidates, selection
from streaming.scoring.slate import SlateRequest, make_slate

_LOG = logging.getLogger(__name__)
_NOBODY = view(new())
_TOPICS = (Topic.ITEMS, Topic.POLICIES)


class Shop:
    """Items and policies as their topics have them, followed in a thread.

    Args:
        cluster: of the topics.
        model: of the items that it knows, how popular they are.

    Raises:
        TopicError: a topic is not there.
        KafkaException: the broker is not there.
    """

    def __init__(self, cluster: Cluster, model: SessionModel) -> None:
        self._model = model
        self._control = ControlState(Catalogue(model.items), model.manifest.model_version)
        consumer = at_the_end(cluster, *_TOPICS)  # before what is there is read: nothing falls between
        self._control.start(cluster, _TOPICS)
        self._following = Following(cluster, consumer, self._take)

    def close(self) -> None:
        self._following.close()

    @property
    def error(self) -> str:
        """Why nothing is followed any more; empty while it is."""
        return self._following.error

    def popular(self, request: Request) -> tuple[SlateItem, ...]:
        """Return the slate that the request would get if nothing were known of the shopper, and nothing learnt.

        Raises:
            ExpressionError: its filter cannot be used.
        """
        catalogue = self._control.catalogue
        with catalogue.unchanged():
            selected = selection(request, catalogue)
            asked = SlateRequest(
                extract_row("", _NOBODY, catalogue),
                0,
                request.surface,
                size=request.size,
                exclude=excluded(request),
                selection=selected,
                extra=extra_candidates(request, selected, (), catalogue, self._control.complements),
                time_ms=request.event_time_ms,
            )
            nothing = Fallback.EMPTY_SESSION
            return make_slate(_NOBODY, asked, request.request_id, nothing, self._model, self._control, nothing).items

    def _take(self, origin: Origin, key: str, raw: bytes | None, _: Headers) -> None:
        letter = self._control.apply(key, raw, origin)
        if letter is not None:  # the jobs have written it to dead-letters
            _LOG.warning("%s is left out: %s", origin, letter.error)
