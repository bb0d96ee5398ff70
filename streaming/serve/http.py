"""What every endpoint shares: bodies with bounds, answers as JSON, one form of refusal, tokens."""

import asyncio
import secrets
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

BODY_AT_MOST = 8 * 1024 * 1024  # bytes
CLIENT_CLOSED = 499  # as nginx has it, in metrics alone: nobody reads the answer
BODY_S = 5.0  # within which a body has to be there


class Refusal(Exception):  # it is an answer, and none of ours is to blame
    """An answer other than what was asked for."""

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
        super().__init__(error)
        self.status, self.headers = status, headers
        self.body = {"error": error, **fields}


async def body_of(request: Request) -> bytes:
    """Return the body.

    Raises:
        Refusal: it is too large, or does not come.
    """
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > BODY_AT_MOST:
                    raise Refusal(413, f"the body has more than {BODY_AT_MOST:,} bytes; send several requests")
                parts.append(part)
    except ClientDisconnect:
        raise Refusal(CLIENT_CLOSED, "whoever asked has gone") from None
    except TimeoutError:
        raise Refusal(408, f"the body was not there within {BODY_S:g} s") from None
    return b"".join(parts)


def decoded(raw: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object.

    Raises:
        Refusal: it is none.
    """
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON object: {error}") from error


def json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def refuse_without(token: str | None, request: Request) -> None:
    """Raise Refusal where a token is needed that the request does not bring."""
    if token is not None:
        said = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(said.encode(), token.encode()):
            raise Refusal(401, "this needs a token: `Authorization: Bearer …`", {"WWW-Authenticate": "Bearer"})


def unknown_fields(given: dict[str, Any], known: frozenset[str]) -> None:
    """Raise Refusal for a field that is none, so that a slip of the pen is not taken for nothing."""
    if wrong := sorted(given.keys() - known):
        raise Refusal(400, f"there is no field {', '.join(wrong)}; there are {', '.join(sorted(known))}")
