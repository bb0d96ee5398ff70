"""The HTTP door: what an app without a Kafka client asks and reports."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import prometheus_client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streaming.client.asking import Asker
from streaming.serve.events import Events
from streaming.serve.http import Refusal, json, refuse_without
from streaming.serve.inference import Inference
from streaming.serve.openapi import document
from streaming.serve.shop import Shop
from streaming.serve.shoppers import Explanations, Features
from streaming.serve.slates import Slates

Handler = Callable[[Request], Awaitable[Response]]
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)


def build(
    asker: Asker,
    shop: Shop,
    inference: Inference,
    features: Features,
    explanations: Explanations,
    timeout_ms: int,
    at_once: int,
    token: str | None,
    hosts: list[str],
) -> Starlette:
    """Return the application.

    Args:
        asker: by which the stream is asked.
        shop: what is on sale.
        inference: by which models are asked for themselves.
        features: of shoppers.
        explanations: of slates.
        timeout_ms: after which a request for a slate gets what is popular.
        at_once: requests for slates that are waited for, at most; more are refused.
        token: that all but health and metrics need; None: nothing does.
        hosts: names that a request may ask for: a page elsewhere cannot make a browser ask in another's name.
    """
    slates, events = Slates(asker, shop, timeout_ms, at_once), Events(asker)
    metrics = _Metrics(asker)

    def endpoint(path: str, handler: Handler, method: str, is_open: bool = False) -> Route:
        async def answer(request: Request) -> Response:
            began, status = time.perf_counter(), 500
            try:
                if not is_open:
                    refuse_without(token, request)
                response = await handler(request)
                status = response.status_code
            except Refusal as refusal:
                status = refusal.status
                metrics.degraded.inc("degraded" in refusal.body)
                response = json(refusal.body, status, refusal.headers)
            finally:
                metrics.count(path, status, time.perf_counter() - began)
            return response

        return Route(path, answer, methods=[method])

    async def healthy(request: Request) -> Response:
        return json({"status": "ok"})

    async def ready(request: Request) -> Response:
        if errors := [error for error in (asker.error, shop.error) if error]:
            raise Refusal(503, "; ".join(errors))
        return json({"status": "ok"})

    described = msgspec.json.encode(document())

    async def description(request: Request) -> Response:
        return Response(described, media_type="application/json")

    async def exposed(request: Request) -> Response:
        return Response(metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        for served in (asker, shop, features, explanations):
            served.close()

    return Starlette(
        routes=[
            endpoint("/v1/recommend", slates.recommend, "POST"),
            endpoint("/v1/events", events.report, "POST"),
            endpoint("/v1/shoppers/{shopper_id:path}/features", features.of_shopper, "GET"),
            endpoint("/v1/slates/{rec_id}/explanation", explanations.of_slate, "GET"),
            endpoint("/predict", inference.predict, "POST"),
            endpoint("/v2", inference.server, "GET"),
            endpoint("/v2/health/live", healthy, "GET", is_open=True),
            endpoint("/v2/health/ready", ready, "GET", is_open=True),
            *(
                endpoint(f"/v2/models/{{name}}{version}{path}", handler, method)
                for version in ("", "/versions/{version}")
                for path, handler, method in (
                    ("", inference.model, "GET"),
                    ("/ready", inference.model_ready, "GET"),
                    ("/infer", inference.infer, "POST"),
                )
            ),
            endpoint("/openapi.json", description, "GET", is_open=True),
            endpoint("/healthz", healthy, "GET", is_open=True),
            endpoint("/readyz", ready, "GET", is_open=True),
            endpoint("/metrics", exposed, "GET", is_open=True),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        lifespan=lifespan,
    )


class _Metrics:
    """What Prometheus is told."""

    def __init__(self, asker: Asker) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        self._answers = prometheus_client.Counter(
            "rheostat_serve_answers",
            "Answers, by endpoint and status.",
            ["endpoint", "status"],
            registry=self._registry,
        )
        self._seconds = prometheus_client.Histogram(
            "rheostat_serve_seconds", "From request to answer.", ["endpoint"], registry=self._registry, buckets=_BUCKETS
        )
        self.degraded = prometheus_client.Counter(
            "rheostat_serve_degraded", "Slates that the stream did not answer in time.", registry=self._registry
        )
        waiting = prometheus_client.Gauge(
            "rheostat_serve_waiting", "Requests for slates that are waited for.", registry=self._registry
        )
        waiting.set_function(lambda: len(asker))

    def count(self, endpoint: str, status: int, seconds: float) -> None:
        self._answers.labels(endpoint, status).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self._registry)
