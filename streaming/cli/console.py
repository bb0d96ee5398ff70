"""One page to turn the policy by hand, and to see what it does."""

import getpass
import secrets
from typing import Annotated

import typer

from streaming.cli.options import LOOPBACK, MODEL, Model, OnCluster, errors, listening, printer, say


def console(
    cluster: OnCluster,
    model: Model = MODEL,
    host: Annotated[str, typer.Option(help="Where it listens; beside loopback, reads need the token, too.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 8765,
    token: Annotated[
        str | None, typer.Option(envvar="RHEOSTAT_CONSOLE_TOKEN", help="That writes need.", show_default="made up anew")
    ] = None,
) -> None:
    """Serve a page that turns the policy, and shows what that does: slates, figures, who turned what.

    Example: rheostat console --port 8765
    """
    import uvicorn
    from confluent_kafka import KafkaException

    from onnx_models.artifact import read_items, read_manifest
    from streaming.web.app import build
    from streaming.web.follow import Follower

    words = printer()
    with listening(host, port) as listener:
        with errors(KafkaException), words.status("reading the shop …"):
            follower = Follower(cluster, read_items(model, read_manifest(model)))
        token = token or secrets.token_urlsafe(16)
        is_loopback = host in LOOPBACK
        app = build(follower, token, getpass.getuser(), list(LOOPBACK) if is_loopback else ["*"], is_open=is_loopback)
        listener.listen()  # who follows the link at once is waited for
        say(f"the console: http://{host}:{listener.getsockname()[1]}/#token={token}", words)
        say("who has this link may turn the policy; Ctrl-C ends it", words)
        try:
            uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)).run([listener])
        finally:
            follower.close()
