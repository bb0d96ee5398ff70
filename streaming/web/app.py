"""The console's page and what it asks for. Reads are open to whoever reaches the port, writes need the token."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

import msgspec
from confluent_kafka import KafkaException
from msgspec import Meta
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from features.errors import LoggedSlatesError, PolicyError, PolicyMovedError, UnavailableError, UnknownItemError
from streaming.control import policies, policy_text
from streaming.policy.check import ANYONE, validate
from streaming.policy.difference import differences
from streaming.policy.fields import NOT_WRITTEN
from streaming.records import UNDECODABLE
from streaming.schemas import Policy
from streaming.web import views
from streaming.web.figures import EVERY_SURFACE, KEPT_S
from streaming.web.follow import Follower, Shown
from streaming.web.gate import Gate

TAKEN_S, POLL_S = 5.0, 0.02  # for which a written policy is waited for, to come back from the topic
PREVIEWED_AT_MOST, SLATES_SHOWN_AT_MOST = 50, 6
_PAGE = files("streaming.web").joinpath("page")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
Handler = Callable[[Request], Awaitable[Response]]
ConstraintStates = Callable[[], list[views.ConstraintState]]


@dataclass(frozen=True)
class Access:
    """Who may do what, and under which name.

    Args:
        names: of those who write, by the token that each brings as `Authorization: Bearer …`.
        hosts: that a request may ask for: a page elsewhere cannot make a browser ask in another's name.
        is_open: reads need no token.
        header: with which a proxy says who writes, in place of the token's name; empty: none does.
    """

    names: dict[str, str]
    hosts: list[str]
    is_open: bool
    header: str = ""

    def name(self, request: Request) -> str | None:
        """Return under which name the request writes, None where it may not."""
        said = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        mine = [name for token, name in self.names.items() if secrets.compare_digest(said, token.encode())]
        if not mine:
            return None
        return request.headers.get(self.header) if self.header else mine[0]


class _Draft(msgspec.Struct, forbid_unknown_fields=True):
    """A whole policy, as it would count."""

    policy: dict[str, Any]


class _Publication(_Draft, forbid_unknown_fields=True, kw_only=True):
    """A draft that is to count from now on."""

    based_on: int  # version of the scope's policy that it was made from; 0: there was none that somebody wrote
    note: str = ""


class _Return(msgspec.Struct, forbid_unknown_fields=True):
    """That a scope is to be as it was; `based_on` as of a publication."""

    based_on: int


class _Span(msgspec.Struct):
    """Of which slates figures are asked for."""

    seconds: Annotated[int, Meta(ge=10, le=KEPT_S)] = 60
    surface: str = EVERY_SURFACE


class _Window(msgspec.Struct):
    """From a shopper's first slate, in which an experiment counts."""

    window_s: Annotated[float, Meta(ge=1, le=1e9)] = 1800.0


class _Text(msgspec.Struct, forbid_unknown_fields=True):
    """A policy as a person writes it."""

    text: str


class _AskedSlates(msgspec.Struct, forbid_unknown_fields=True):
    of: Annotated[list[tuple[str, str]], Meta(max_length=SLATES_SHOWN_AT_MOST)]  # shopper and surface
    policy: dict[str, Any] | None = None  # without one, what is in force


def build(follower: Follower, access: Access, states: ConstraintStates, gate: Gate | None = None) -> Starlette:
    """Return the application.

    Args:
        follower: what is known.
        access: who may do what.
        states: how the constraints stand, as the job `learn` has it.
        gate: what asks the log of a draft; None: nobody does.
    """

    def guarded(handler: Handler, writes: bool = False) -> Handler:
        async def answer(request: Request) -> Response:
            if (writes or not access.is_open) and access.name(request) is None:
                return _refused(401, _WHO.format(access.header) if access.header else _LINK)
            try:
                return await handler(request)
            except PolicyMovedError as error:
                return _refused(409, str(error))
            except (PolicyError, *UNDECODABLE) as error:
                return _refused(400, str(error))
            except UnknownItemError as error:
                return _refused(409, f"the shop no longer has {error}, which was a candidate; wait for the next slate")
            except (UnavailableError, KafkaException, TimeoutError, LoggedSlatesError) as error:
                return _refused(503, str(error))

        return answer

    async def page(request: Request) -> Response:
        return HTMLResponse(_PAGE.joinpath("index.html").read_text(encoding="utf-8"), headers=_HEADERS)

    async def state(request: Request) -> Response:
        return _json(views.state(follower) | {"author": access.name(request), "asks_log": gate is not None})

    async def terms(request: Request) -> Response:
        return _json(views.terms())

    async def scope(request: Request) -> Response:
        return _json(views.scope(request.path_params["scope"], follower.turned.table))

    async def slates(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_AskedSlates)
        policy = None if body.policy is None else _checked(body.policy, "draft")
        shown = [one for one in (follower.shown(*whose) for whose in body.of) if one is not None]
        return _json(await run_in_threadpool(_slates, shown, policy))

    def _slates(shown: list[Shown], policy: Policy | None) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "slates": [views.slate(follower, one, follower.slate_under(one, policy)) for one in shown]
        }
        if policy is not None:
            before = follower.turned.table.written(policy.scope)
            answer["differences"] = differences(before or follower.turned.table.shadowed(policy.scope), policy)
            answer["not_on_sale"] = views.not_on_sale(follower, policy)
            answer["effect"] = views.effect(follower, policy, PREVIEWED_AT_MOST)
        return answer

    async def shoppers(request: Request) -> Response:
        return _json(views.shoppers(follower, request.query_params.get("search", "")))

    async def items(request: Request) -> Response:
        return _json(await run_in_threadpool(views.items, follower, request.query_params.get("search", "")))

    async def figures(request: Request) -> Response:
        span = msgspec.convert(dict(request.query_params), _Span, strict=False)
        return _json(follower.figures(span.seconds, span.surface))

    async def constraints(request: Request) -> Response:
        return _json(await run_in_threadpool(views.constraints, follower.turned.table, states))

    async def experiment(request: Request) -> Response:
        window = msgspec.convert(dict(request.query_params), _Window, strict=False)
        name = request.path_params["name"]
        return _json(await run_in_threadpool(views.experiment, name, follower, window.window_s))

    async def history(request: Request) -> Response:
        return _json(views.history(follower.turned))

    async def put(policy: Policy) -> Response:
        await run_in_threadpool(policies.write, policy, follower.turned.table, follower.cluster)
        await _seen(lambda: follower.turned.table.version >= policy.version)
        return _json({"version": policy.version})

    def _checked(fields: dict[str, Any], author: str, note: str = "") -> Policy:
        turned = follower.turned
        policy = policies.stamped(fields, turned.newest, author, note)
        if why := validate(policy, turned.table.version, ANYONE):
            raise PolicyError(why)
        return policy

    async def publish(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_Publication)
        policy = _checked(body.policy, access.name(request) or "", body.note)
        policies.refuse_if_moved(policy.scope, body.based_on, follower.turned.table)
        if gate is not None and gate.refuses:
            judgement = await run_in_threadpool(gate.judged, policy, follower.turned.table)
            if judgement.refusal is not None:
                msg = f"refused at the gate, and what is in force stays: {judgement.refusal}"
                raise PolicyError(msg)
        return await put(policy)

    async def text(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_Draft)
        return _json({"text": policy_text.written(body.policy)})

    async def parsed(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_Text)
        policy = _checked(policy_text.parsed(body.text, "the text"), "draft")
        fields: dict[str, Any] = msgspec.to_builtins(policy)
        return _json({"policy": {name: value for name, value in fields.items() if name not in NOT_WRITTEN}})

    async def evaluate(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_Draft)
        if gate is None:
            msg = "nobody asks the log here; start the console with --log, the folder that `rheostat log sink` fills"
            raise PolicyError(msg)
        judgement = await run_in_threadpool(gate.judged, _checked(body.policy, "draft"), follower.turned.table)
        return _json(judgement._asdict())

    async def roll_back(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_Return)
        version = request.path_params["version"]
        fields = policies.before(version, follower.turned)
        policies.refuse_if_moved(fields["scope"], body.based_on, follower.turned.table)
        return await put(_checked(fields, access.name(request) or "", f"as version {version} was"))

    async def remove(request: Request) -> Response:
        body = msgspec.json.decode(await request.body(), type=_Return)
        scope, table = request.path_params["scope"], follower.turned.table
        policies.refuse_if_moved(scope, body.based_on, table)
        removed = await run_in_threadpool(policies.remove, scope, table, follower.cluster, access.name(request) or "")
        await _seen(lambda: follower.turned.table.written(scope) is None)
        return _json({"version": removed.version})

    async def healthy(request: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(request: Request) -> Response:
        return _json({"status": "ok"}) if not follower.error else _refused(503, follower.error)

    return Starlette(
        routes=[
            Route("/healthz", healthy),
            Route("/readyz", ready),
            Route("/", page),
            Mount("/page", StaticFiles(directory=str(_PAGE))),
            Route("/terms", terms),
            Route("/state", guarded(state)),
            Route("/scopes/{scope}", guarded(scope)),
            Route("/slates", guarded(slates), methods=["POST"]),
            Route("/shoppers", guarded(shoppers)),
            Route("/items", guarded(items)),
            Route("/figures", guarded(figures)),
            Route("/constraints", guarded(constraints)),
            Route("/experiments/{name}", guarded(experiment)),
            Route("/text", guarded(text), methods=["POST"]),
            Route("/parsed", guarded(parsed), methods=["POST"]),
            Route("/evaluation", guarded(evaluate), methods=["POST"]),
            Route("/policies", guarded(history), methods=["GET"]),
            Route("/policies", guarded(publish, writes=True), methods=["POST"]),
            Route("/policies/{version:int}/roll-back", guarded(roll_back, writes=True), methods=["POST"]),
            Route("/scopes/{scope}/remove", guarded(remove, writes=True), methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=access.hosts)],
    )


_LINK = "this needs a token: open the link that `rheostat console` has printed"
_WHO = "this needs the token of the link that `rheostat console` has printed, and a proxy that says who asks in {}"


async def _seen(is_seen: Callable[[], bool]) -> None:
    """Wait until what was written has come back from the topic, so that the next turn counts from it."""
    until = time.monotonic() + TAKEN_S
    while not is_seen():
        if time.monotonic() > until:
            msg = f"it is written, but the console has not seen it within {TAKEN_S:g} s"
            raise TimeoutError(msg)
        await asyncio.sleep(POLL_S)


def _json(figures: Any) -> Response:
    return Response(msgspec.json.encode(figures), media_type="application/json", headers={"Cache-Control": "no-store"})


def _refused(status: int, why: str) -> Response:
    return Response(msgspec.json.encode({"error": why}), status_code=status, media_type="application/json")
