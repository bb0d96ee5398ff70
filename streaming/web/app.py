"""The console's page and what it asks for. Reads are open to whoever reaches the port, writes need the token."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import msgspec
from confluent_kafka import KafkaException
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from features.errors import PolicyError, PolicyMovedError, TopicError, UnknownItemError
from streaming.control import policies
from streaming.policy.check import ANYONE, validate
from streaming.policy.objectives import NAMES
from streaming.records import UNDECODABLE
from streaming.schemas import Policy, SlateItem
from streaming.scoring.explain import session_of
from streaming.web.follow import Follower, Shown

TAKEN_S, POLL_S = 5.0, 0.02  # for which a written policy is waited for, to come back from the topic
HISTORY_AT_MOST = 50
SESSION_AT_MOST = 10
_PAGE = files("streaming.web").joinpath("page.html")
Handler = Callable[[Request], Awaitable[Response]]


def build(follower: Follower, token: str, author: str, hosts: list[str], is_open: bool) -> Starlette:
    """Return the application.

    Args:
        follower: what is known.
        token: that a write must bring, `Authorization: Bearer …`; a read, too, unless it is open.
        author: of what is written.
        hosts: names that a request may ask for: a page elsewhere cannot make a browser ask in another's name.
        is_open: reads need no token.
    """

    def guarded(handler: Handler, needs_token: bool) -> Handler:
        async def answer(request: Request) -> Response:
            if needs_token and not _has(request, token):
                return _refused(401, "this needs a token: open the link that `rheostat console` has printed")
            try:
                return await handler(request)
            except PolicyMovedError as error:
                return _refused(409, str(error))
            except (PolicyError, *UNDECODABLE) as error:
                return _refused(400, str(error))
            except UnknownItemError as error:
                return _refused(409, f"the shop no longer has {error}, which was a candidate; wait for the next slate")
            except (TopicError, KafkaException, TimeoutError) as error:
                return _refused(503, str(error))

        return answer

    async def page(request: Request) -> Response:
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"), headers=_HEADERS)

    async def state(request: Request) -> Response:
        return _json(_state(follower))

    async def slate(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_AskedSlate)
        shown = follower.shown(body.shopper_id)
        if shown is None:
            return _refused(404, f"shopper {body.shopper_id} has no slate since the console was started")
        policy = None
        if body.policy is not None:
            policy = policies.stamped(_whole(follower, body.policy), follower.turned.table, author)
            if why := validate(policy, follower.turned.table.version, ANYONE):
                raise PolicyError(why)
        drawn = follower.slate_under(shown, policy)
        return _json(_slate(follower, shown, drawn.items, drawn.policy_scope))

    async def put(policy: Policy) -> Response:
        await run_in_threadpool(policies.write, policy, follower.turned.table, follower.cluster)
        try:
            async with asyncio.timeout(TAKEN_S):  # so that the next turn counts from this one
                while follower.turned.table.version < policy.version:
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            msg = f"version {policy.version} is in force, but the console has not seen it within {TAKEN_S:g} s"
            raise TimeoutError(msg) from error
        return _json({"version": policy.version})

    async def turn(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_Publication)
        table = follower.turned.table
        policies.refuse_if_moved(body.scope, body.based_on, table)
        return await put(policies.stamped(_whole(follower, body), table, author, body.note))

    async def roll_back(request: Request) -> Response:
        version = request.path_params["version"]
        fields = policies.before(version, follower.turned)
        return await put(policies.stamped(fields, follower.turned.table, author, f"as version {version} was"))

    reads_need_token = not is_open
    return Starlette(
        routes=[
            Route("/", page),
            Route("/state", guarded(state, reads_need_token)),
            Route("/slate", guarded(slate, reads_need_token), methods=["POST"]),
            Route("/policies", guarded(turn, True), methods=["POST"]),
            Route("/policies/{version:int}/roll-back", guarded(roll_back, True), methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
    )


class _Turn(msgspec.Struct, forbid_unknown_fields=True):
    """What the sliders say; the rest of the scope's policy stays."""

    scope: str
    weights: dict[str, float]
    diversity: float
    satiation: float
    exploration: dict[str, float]


class _Publication(_Turn, forbid_unknown_fields=True, kw_only=True):
    """A draft that is to count from now on."""

    based_on: int  # version of the scope's policy that it was made from; 0: there was none that somebody wrote
    note: str = ""


class _AskedSlate(msgspec.Struct, forbid_unknown_fields=True):
    shopper_id: str
    policy: _Turn | None = None  # without one, what is in force


_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _has(request: Request, token: str) -> bool:
    said = request.headers.get("authorization", "").removeprefix("Bearer ")
    return secrets.compare_digest(said.encode(), token.encode())


def _whole(follower: Follower, turn: _Turn) -> dict[str, Any]:
    table = follower.turned.table
    current = table.policies.get(turn.scope)
    fields = policies.begun(turn.scope, table) if current is None else msgspec.to_builtins(current)
    turned = {name: value for name, value in msgspec.to_builtins(turn).items() if name not in ("based_on", "note")}
    return (
        fields
        | turned
        | {
            "exploration": fields.get("exploration", {}) | turn.exploration,
            "satiation": fields.get("satiation", {}) | {"weight": turn.satiation},
        }
    )


def _state(follower: Follower) -> dict[str, Any]:
    turned = follower.turned
    in_force = {scope: msgspec.to_builtins(record) for scope, record in turned.table.policies.items()}
    return {
        "version": turned.table.version,
        "policies": in_force,
        "based_on": {scope: policies.version_of(scope, turned.table) for scope in in_force},
        "instead": {scope: turned.table.ahead_of(scope) for scope, record in in_force.items() if not record["duals"]},
        "objectives": {
            scope: [*NAMES, *fields["objectives"]] for scope, fields in in_force.items() if not fields["duals"]
        },
        "history": msgspec.to_builtins(turned.written[: -HISTORY_AT_MOST - 1 : -1]),
        "figures": msgspec.to_builtins(follower.figures()),
        "shoppers": follower.shoppers(),
        "error": follower.error,
    }


def _slate(follower: Follower, shown: Shown, items: tuple[SlateItem, ...], scope: str) -> dict[str, Any]:
    def words(item_id: str) -> dict[str, Any]:
        item = follower.catalogue.item(item_id)
        if item is None:
            return {"item_id": item_id, "name": item_id, "category": "", "price": None}
        return {"item_id": item_id, "name": item.name, "category": item.category, "price": item.price}

    slate = shown.slate
    return {
        "rec_id": slate.rec_id,
        "shopper_id": slate.shopper_id,
        "surface": slate.surface,
        "event_time_ms": slate.event_time_ms,
        "fallback": slate.fallback,
        "uncertainty": slate.uncertainty,
        "scope": scope,
        "session": [words(interaction) for interaction in session_of(shown.features.row)[-SESSION_AT_MOST:]],
        "shown": [item.item_id for item in slate.slate],  # as it went out
        "items": [words(item.item_id) | msgspec.to_builtins(item) for item in items],
    }


def _json(figures: Any) -> Response:
    return Response(msgspec.json.encode(figures), media_type="application/json", headers={"Cache-Control": "no-store"})


def _refused(status: int, why: str) -> Response:
    return Response(msgspec.json.encode({"error": why}), status_code=status, media_type="application/json")
