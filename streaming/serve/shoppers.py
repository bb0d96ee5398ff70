"""`GET /v1/shoppers/{id}/features` and `GET /v1/slates/{rec_id}/explanation`: for who looks into a single case."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from starlette.requests import Request
from starlette.responses import Response

from features.errors import ExplanationError, TopicError
from streaming.config import Cluster
from streaming.offline.explanation import explanation
from streaming.scoring.model import SessionModel
from streaming.serve.http import Refusal, json


class Features:
    """What Feast has of shoppers. A store's connection stays in one thread.

    Args:
        repo: folder in which `feast apply` has run; None: nothing is served.

    Raises:
        OnlineStoreError: the repo's store is none of ours.
    """

    def __init__(self, repo: Path | None) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._store = None
        if repo is not None:
            from streaming.io.online_store import OnlineStore  # imports Feast, which takes seconds

            self._store = self._thread.submit(OnlineStore, repo, 0.0).result()

    def close(self) -> None:
        if self._store is not None:
            self._thread.submit(self._store.close)
        self._thread.shutdown()

    async def of_shopper(self, request: Request) -> Response:
        """Return the features of a shopper, by view."""
        if self._store is None:
            raise Refusal(503, "no Feast repo is named: start with --feast-repo FOLDER")
        shopper = request.path_params["shopper_id"]
        row = await asyncio.get_running_loop().run_in_executor(self._thread, self._store.row, shopper)
        if not any(row.values()):
            raise Refusal(404, f"the online store knows nothing of shopper {shopper}")
        return json({view.value: values for view, values in row.items()})


class Explanations:
    """Why items stand where they do. One is made at a time: each reads topics as a whole."""

    def __init__(self, cluster: Cluster, model: SessionModel) -> None:
        self._cluster, self._model = cluster, model
        self._thread = ThreadPoolExecutor(1)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    async def of_slate(self, request: Request) -> Response:
        """Return the explanation of the item at `place`, the first one if none is named."""
        place = request.query_params.get("place", "1")
        if not place.isdecimal():
            raise Refusal(400, f"place is {place!r}, expected a number from 1")
        explain = partial(explanation, request.path_params["rec_id"], int(place), self._cluster, lambda: self._model)
        try:
            return json(await asyncio.get_running_loop().run_in_executor(self._thread, explain))
        except ExplanationError as error:
            raise Refusal(404, str(error)) from error
        except (TopicError, KafkaException) as error:
            raise Refusal(503, str(error)) from error
