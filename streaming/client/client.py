"""Asks for slates, and reports what became of them."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypedDict, Unpack

import msgspec
from confluent_kafka import KafkaError
from confluent_kafka import Message as KafkaRecord

from features.errors import DeliveryError, EventRefusedError, RequestExpiredError, RequestRefusedError
from streaming.client.asking import Asker
from streaming.config import Cluster
from streaming.records import encode, key_of, now_ms
from streaming.schemas import AskedItem, Click, Impression, Purchase, Recommendation, Request, Return, Topic

TIMEOUT_S = 0.5
Event = Click | Purchase | Impression | Return
_TOPICS: dict[type[Event], Topic] = {
    Click: Topic.CLICKS,
    Purchase: Topic.PURCHASES,
    Impression: Topic.IMPRESSIONS,
    Return: Topic.RETURNS,
}
_SLATE = msgspec.json.Decoder(Recommendation)


class RequestFields(TypedDict, total=False):
    """What may be said of a slate that is asked for, as `streaming.schemas.Request` has it."""

    size: int
    exclude: Sequence[str]
    context_item: str
    cart: Sequence[str]
    candidates: Sequence[AskedItem]
    category: str
    filter: str
    bids: Mapping[str, float]
    explain: bool
    device: str
    consent: bool
    request_id: str  # by default one of its own


class Client:
    """Asks for slates and reports what became of them, from any thread; one for an app.

    Args:
        bootstrap_servers: of the Kafka cluster.
        topic_prefix: of the deployment's topics.
        client_properties: path of a file in the form of Kafka's `--command-config`: TLS, and who the app is.
        timeout_s: for which a slate is waited for, unless the call says otherwise.

    Raises:
        KafkaException: the broker is not there.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic_prefix: str = "",
        client_properties: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._asker = Asker(Cluster(bootstrap_servers, topic_prefix, client_properties))
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End; what is still waited for is given up."""
        self._asker.close()

    def recommend(
        self,
        shopper_id: str,
        session_id: str,
        surface: str,
        *,
        timeout_s: float | None = None,
        **fields: Unpack[RequestFields],
    ) -> Recommendation:
        """Return the slate that the stream makes for a shopper.

        Args:
            shopper_id: the shopper's pseudonym.
            session_id: of the visit.
            surface: where the slate is shown: by its policy it is made.
            timeout_s: after which it is not waited for any more, nor made.
            fields: what else is said of it.

        Raises:
            RequestRefusedError: the request cannot be used.
            RequestExpiredError: there was no answer in time.
            RequestFailedError: the job failed at it.
            DeliveryError: the broker does not take it, or another thread has closed this meanwhile.
        """
        request, patience_s = self._request(shopper_id, session_id, surface, timeout_s, fields)
        answer = self._asker.ask(request)
        try:
            return _SLATE.decode(answer.result(patience_s))
        except TimeoutError:
            raise _expired(patience_s) from None
        finally:
            answer.cancel()

    async def recommend_async(
        self,
        shopper_id: str,
        session_id: str,
        surface: str,
        *,
        timeout_s: float | None = None,
        **fields: Unpack[RequestFields],
    ) -> Recommendation:
        """Return the slate as `recommend` does, and let others work meanwhile."""
        request, patience_s = self._request(shopper_id, session_id, surface, timeout_s, fields)
        answer = self._asker.ask(request)
        try:
            async with asyncio.timeout(patience_s):
                raw = await asyncio.wrap_future(answer)
            return _SLATE.decode(raw)
        except TimeoutError:
            raise _expired(patience_s) from None
        finally:
            answer.cancel()

    def report(self, *events: Event) -> None:
        """Write what shoppers have seen and done; on return the broker has it.

        An event that is sent again, since it is not known whether the broker has it, counts once.

        Raises:
            EventRefusedError: one of the events cannot be used; none is written.
            DeliveryError: the broker did not take all of them; the message says which.
        """
        _raise_lost([delivery.result() for delivery in self._send(events)])

    async def report_async(self, *events: Event) -> None:
        """Write events as `report` does, and let others work meanwhile."""
        _raise_lost(await asyncio.gather(*map(asyncio.wrap_future, self._send(events))))

    def _request(
        self, shopper_id: str, session_id: str, surface: str, timeout_s: float | None, fields: RequestFields
    ) -> tuple[Request, float]:
        """Return the request, and for how many seconds it is waited for."""
        patience_s = self._timeout_s if timeout_s is None else timeout_s
        now = now_ms()
        try:
            request = msgspec.convert(
                {
                    "request_id": uuid.uuid4().hex,
                    "shopper_id": shopper_id,
                    "session_id": session_id,
                    "surface": surface,
                    "event_time_ms": now,
                    "deadline_time_ms": now + round(1000 * patience_s),
                    **fields,
                },
                Request,
            )
        except msgspec.ValidationError as error:
            raise RequestRefusedError(str(error)) from error
        return request, patience_s

    def _send(self, events: Sequence[Event]) -> list[Future[str | None]]:
        """Return of each event what will be None once the broker has it, or why it has not."""
        for n, event in enumerate(events):
            try:
                msgspec.convert(msgspec.to_builtins(event), type(event))
            except msgspec.ValidationError as error:
                msg = f"event {n}, a {type(event).__name__}: {error}"
                raise EventRefusedError(msg) from error
        return [self._send_one(event) for event in events]

    def _send_one(self, event: Event) -> Future[str | None]:
        delivery: Future[str | None] = Future()

        def delivered(error: KafkaError | None, record: KafkaRecord) -> None:
            if delivery.set_running_or_notify_cancel():  # who sent it may have gone
                delivery.set_result(None if error is None else error.str())

        try:
            self._asker.send(_TOPICS[type(event)], key_of(event), encode(event), delivered)
        except DeliveryError as error:  # those before it are on their way
            delivery.set_result(str(error))
        return delivery


def _expired(patience_s: float) -> RequestExpiredError:
    return RequestExpiredError(f"the stream did not answer within {1000 * patience_s:.0f} ms")


def _raise_lost(said: Sequence[str | None]) -> None:
    lost = {n: why for n, why in enumerate(said) if why is not None}
    if lost:
        msg = f"the broker did not take {len(lost)} of {len(said)} events: " + "; ".join(
            f"event {n}: {why}" for n, why in lost.items()
        )
        raise DeliveryError(msg)
