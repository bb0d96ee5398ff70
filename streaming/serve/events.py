"""`POST /v1/events`: what shoppers have done and seen, onto the topics that they belong on."""

import asyncio
from typing import Any

import msgspec
from confluent_kafka import KafkaError
from confluent_kafka import Message as KafkaRecord
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from features.errors import DeliveryError
from streaming.client.asking import Asker
from streaming.records import encode, key_of
from streaming.schemas import Click, Impression, Message, Purchase, Return, Topic
from streaming.serve.http import Refusal, body_of, decoded, json, unknown_fields

EVENTS_AT_MOST = 1_000  # of a batch
TYPES: dict[str, tuple[Topic, type[Message]]] = {
    "click": (Topic.CLICKS, Click),
    "purchase": (Topic.PURCHASES, Purchase),
    "impression": (Topic.IMPRESSIONS, Impression),
    "return": (Topic.RETURNS, Return),
}
_FIELDS = {name: frozenset(message.__struct_encode_fields__) for name, (_, message) in TYPES.items()}


class Events:
    """Takes batches of events; what it has acknowledged the broker has."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def report(self, http_request: HttpRequest) -> Response:
        """Return how many of `events` the broker has, and of every other one why not."""
        fields = decoded(await body_of(http_request))
        unknown_fields(fields, frozenset({"events"}))
        events = fields.get("events")
        if not isinstance(events, list) or not 0 < len(events) <= EVENTS_AT_MOST:
            raise Refusal(400, f"`events` is to be a list of 1 to {EVENTS_AT_MOST:,} events")
        refused: dict[int, str] = {}
        deliveries: dict[int, asyncio.Future[str | None]] = {}
        for n, event in enumerate(events):
            try:
                deliveries[n] = self._send(*_message(event))
            except Refusal as refusal:
                refused[n] = str(refusal)
            except DeliveryError as full:
                again = f"{full}; send all of it again, an event that comes twice counts once"
                raise Refusal(429, again, {"Retry-After": "1"}) from full
        lost: dict[int, str] = {}
        for n, delivery in deliveries.items():
            if (why := await delivery) is not None:
                lost[n] = why
        accepted = len(deliveries) - len(lost)
        body: dict[str, Any] = {"accepted": accepted, "refused": _listed(refused)}
        if lost:
            missing = "the broker did not take all events; send those again that were not delivered"
            raise Refusal(503, missing, None, **body, not_delivered=_listed(lost))
        if not accepted:
            raise Refusal(400, "none of the events can be used", None, **body)
        return json(body, 202)

    def _send(self, topic: Topic, message: Message) -> asyncio.Future[str | None]:
        """Return what will be None once the broker has the message, or why it has not."""
        loop = asyncio.get_running_loop()
        delivery: asyncio.Future[str | None] = loop.create_future()

        def delivered(error: KafkaError | None, record: KafkaRecord) -> None:
            loop.call_soon_threadsafe(_settle, delivery, None if error is None else error.str())

        self._asker.send(topic, key_of(message), encode(message), delivered)
        return delivery


def _listed(errors: dict[int, str]) -> list[dict[str, int | str]]:
    return [{"event": n, "error": error} for n, error in errors.items()]


def _settle(delivery: asyncio.Future[str | None], said: str | None) -> None:
    if not delivery.done():  # who sent it may have gone
        delivery.set_result(said)


def _message(event: Any) -> tuple[Topic, Message]:
    if not isinstance(event, dict) or event.get("type") not in TYPES:
        raise Refusal(400, f"`type` is to be one of {', '.join(TYPES)}")
    fields = {name: value for name, value in event.items() if name != "type"}
    topic, message = TYPES[event["type"]]
    unknown_fields(fields, _FIELDS[event["type"]])
    try:
        return topic, msgspec.convert(fields, message)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"{error}") from error
