"""What is on sale and how it is weighed, followed beside the stream: for those whom the stream does not answer."""

import logging
import threading

from confluent_kafka import KafkaException

from features.row import row
from features.shopper import new, view
from streaming.config import Cluster
from streaming.control.catalogue import Catalogue
from streaming.control.state import ControlState
from streaming.io.tail import at_the_end
from streaming.schemas import Fallback, Origin, Request, SlateItem, Topic
from streaming.scoring.model import SessionModel
from streaming.scoring.selection import bids, excluded, selection
from streaming.scoring.slate import SlateRequest, make_slate

RECORDS_AT_ONCE, POLL_S = 500, 0.2
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
        self._cluster, self._model = cluster, model
        self._control = ControlState(Catalogue(model.items), model.manifest.model_version)
        self.error = ""  # why nothing is followed any more
        self._consumer = at_the_end(cluster, *_TOPICS)  # before what is there is read: nothing falls between
        self._control.start(cluster, _TOPICS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def popular(self, request: Request) -> tuple[SlateItem, ...]:
        """Return the slate that the request would get if nothing were known of the shopper, and nothing learnt.

        Raises:
            ExpressionError: its filter cannot be used.
        """
        catalogue = self._control.catalogue
        with catalogue.unchanged():
            selected = selection(request, catalogue)
            asked = SlateRequest(
                row("", _NOBODY, catalogue),
                0,
                request.surface,
                size=request.size,
                exclude=excluded(request),
                selection=selected,
                bids=bids(request, selected, (), catalogue),
            )
            nothing = Fallback.EMPTY_SESSION
            return make_slate(_NOBODY, asked, request.request_id, nothing, self._model, self._control, nothing).items

    def _follow(self) -> None:
        try:
            while not self._stop.is_set():
                for record in self._consumer.consume(RECORDS_AT_ONCE, POLL_S):
                    if (error := record.error()) is not None:
                        raise KafkaException(error)
                    topic = self._cluster.name(record.topic() or "")
                    origin = Origin(topic, record.partition() or 0, record.offset() or 0)
                    letter = self._control.apply((record.key() or b"").decode(errors="replace"), record.value(), origin)
                    if letter is not None:  # the jobs have written it to dead-letters
                        _LOG.warning("%s is left out: %s", origin, letter.error)
        except Exception as error:
            self.error = str(error) or repr(error)
            raise
