"""The HTTP door to the stream."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from streaming.cli.group import fail
from streaming.cli.options import LOOPBACK, MODEL, OnCluster, errors, listening, printer, say, secret
from streaming.cli.running import HOME, running
from streaming.jobs.options import Model

TOKEN_VARIABLE = "RHEOSTAT_SERVE_TOKEN"
KEEP_ALIVE_S = 75  # longer than the minute of a usual load balancer, which would ask on a connection that is gone


def serve(
    cluster: OnCluster,
    model: Model = MODEL,
    host: Annotated[str, typer.Option(help="Where it listens; beside loopback, a token is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 8780,
    token_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help=f"With the token that all but health and metrics need; or {TOKEN_VARIABLE} has it.",
            show_default="none on loopback, elsewhere one is made up",
        ),
    ] = None,
    timeout_ms: Annotated[
        int, typer.Option(min=1, max=60_000, help="After which a request for a slate gets what is popular.")
    ] = 500,
    at_once: Annotated[
        int, typer.Option(min=1, help="Requests for slates that are waited for; more are refused (429).")
    ] = 1_000,
    feast_repo: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Feast repo.", show_default="of `rheostat up`")
    ] = None,
    onnx: Annotated[
        list[str] | None,
        typer.Option(
            help="An ONNX graph of your own to be asked by tensors, beside the model; the first is behind /predict.",
            metavar="NAME=FILE",
        ),
    ] = None,
) -> None:
    """Answer HTTP: slates for requests, events onto the stream, models by tensors (Open Inference Protocol).

    Example: rheostat serve --port 8780
    """
    import uvicorn
    from confluent_kafka import KafkaException

    from onnx_models.tensors import open_tensors
    from streaming.client.asking import Asker
    from streaming.scoring.model import SessionModel
    from streaming.serve.app import build
    from streaming.serve.inference import Inference
    from streaming.serve.shop import Shop
    from streaming.serve.shoppers import Explanations, Features

    token = secret(token_file, TOKEN_VARIABLE)
    words = printer()
    is_loopback = host in LOOPBACK
    with listening(host, port) as listener:
        with errors(KafkaException), words.status("reading the shop …"):
            session_model = SessionModel(model)
            own = [open_tensors(name, file) for name, file in _named(onnx or []).items()]
            inference = Inference([session_model.tensors, *own], own[0] if own else None)
            stack = running(HOME)
            repo = feast_repo or (None if stack is None or stack.cluster != cluster else Path(stack.feast_repo))
            features, explanations = Features(repo), Explanations(cluster, session_model)
            shop = Shop(cluster, session_model)
            asker = Asker(cluster)
        if token is None and not is_loopback:
            token = secrets.token_urlsafe(16)
            say(f"the token is {token}; name one of your own with --token-file", words)
        hosts = list(LOOPBACK) if is_loopback else ["*"]
        app = build(asker, shop, inference, features, explanations, timeout_ms, at_once, token, hosts)
        listener.listen()
        say(f"the door is open: http://{host}:{listener.getsockname()[1]}; Ctrl-C ends it", words)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=2
        )
        uvicorn.Server(config).run([listener])


def _named(options: list[str]) -> dict[str, Path]:
    """Return the files by the names that they are given."""
    files: dict[str, Path] = {}
    for option in options:
        name, _, file = option.partition("=")
        if not name or not file or name in files:
            fail(f"--onnx {option}: expected NAME=FILE, each name once")
        files[name] = Path(file)
    return files
