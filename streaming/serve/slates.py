"""`POST /v1/recommend`: a request in, the slate that the stream makes of it out."""

import asyncio
import uuid
from concurrent.futures import Future

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from features.errors import (
    DeliveryError,
    ExpressionError,
    RequestExpiredError,
    RequestFailedError,
    RequestRefusedError,
    RheostatError,
)
from streaming.client.asking import Asker
from streaming.records import now_ms
from streaming.schemas import Request
from streaming.serve.http import Refusal, body_of, decoded, unknown_fields
from streaming.serve.shop import Shop

_FIELDS = frozenset(Request.__struct_encode_fields__)
_STATUS: dict[type[RheostatError], int] = {RequestExpiredError: 504, RequestFailedError: 500, DeliveryError: 503}
RETRY_AFTER_S = 1


class Slates:
    """Answers requests for slates.

    Args:
        asker: by which the stream is asked.
        shop: from which those get a slate that the stream does not answer in time.
        timeout_ms: after which that is so, unless the request has a deadline of its own.
        at_once: requests that are waited for, at most.
    """

    def __init__(self, asker: Asker, shop: Shop, timeout_ms: int, at_once: int) -> None:
        self._asker, self._shop = asker, shop
        self._timeout_ms, self._at_once = timeout_ms, at_once

    async def recommend(self, http_request: HttpRequest) -> Response:
        """Return the slate, as it lies on `recommendations`."""
        request = self._request(decoded(await body_of(http_request)))
        if len(self._asker) >= self._at_once:
            error = f"{self._at_once} requests are waited for already; come again"
            raise Refusal(429, error, {"Retry-After": f"{RETRY_AFTER_S}"}, request_id=request.request_id)
        assert request.deadline_time_ms is not None, "it has been given one"
        patience_s = max(request.deadline_time_ms - now_ms(), 0) / 1000
        answer: Future[bytes] | None = None
        try:
            answer = self._asker.ask(request)
            async with asyncio.timeout(patience_s):
                return Response(await asyncio.wrap_future(answer), media_type="application/json")
        except RequestRefusedError as error:
            raise Refusal(400, str(error), request_id=request.request_id) from error
        except (RequestExpiredError, RequestFailedError, DeliveryError) as error:
            raise self._degraded(request, _STATUS[type(error)], str(error)) from error
        except TimeoutError:
            raise self._degraded(request, 504, f"the stream did not answer within {1000 * patience_s:.0f} ms") from None
        finally:
            if answer is not None:  # who asked may have gone
                answer.cancel()

    def _request(self, fields: dict[str, object]) -> Request:
        unknown_fields(fields, _FIELDS)
        now = now_ms()
        fields = {
            "request_id": uuid.uuid4().hex,
            "event_time_ms": now,
            "deadline_time_ms": now + self._timeout_ms,
        } | fields
        try:
            request = msgspec.convert(fields, Request)
        except msgspec.ValidationError as error:
            raise Refusal(400, f"{error}") from error
        if request.deadline_time_ms is None:
            return msgspec.structs.replace(request, deadline_time_ms=now + self._timeout_ms)
        return request

    def _degraded(self, request: Request, status: int, error: str) -> Refusal:
        """Return the answer that has a slate of what is popular, without a `rec_id`: nothing is learnt from it."""
        try:
            slate = self._shop.popular(request)
        except ExpressionError as wrong:
            return Refusal(400, f"filter: {wrong}", request_id=request.request_id)
        return Refusal(
            status,
            error,
            degraded=True,
            request_id=request.request_id,
            shopper_id=request.shopper_id,
            surface=request.surface,
            slate=slate,
        )
