"""One page to turn the policy by hand, and to see what it does."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from streaming.cli import evaluate
from streaming.cli.group import fail
from streaming.cli.options import LOOPBACK, MODEL, OnCluster, errors, listening, own_name, printer, say, secret
from streaming.cli.running import HOME, running
from streaming.cli.watch import LearnUrl
from streaming.jobs.options import Model
from streaming.schemas import Measure
from streaming.storage import AnyPath, path_of

TOKEN_VARIABLE = "RHEOSTAT_CONSOLE_TOKEN"
VIOLATED = "scope_constraint_violated_percent"


def console(
    cluster: OnCluster,
    model: Model = MODEL,
    host: Annotated[str, typer.Option(help="Where it listens; beside loopback, reads need the token, too.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 8765,
    user: Annotated[
        list[str] | None,
        typer.Option(help="Who gets a link of their own, and is the author of what they turn.", show_default="you"),
    ] = None,
    author_header: Annotated[
        str, typer.Option(help="With which a proxy says who asks, as X-Forwarded-User: that is the author.")
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help=f"With the token that writes of the only user need; or {TOKEN_VARIABLE} has it.",
            show_default="made up",
        ),
    ] = None,
    learn: LearnUrl = None,
    log: Annotated[
        AnyPath | None,
        typer.Option(
            parser=path_of,
            metavar="PATH",
            help="Folder or URI that `rheostat log sink` fills: drafts can be asked of it.",
        ),
    ] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Refuse what the log says may be worse. Needs --log.")] = False,
    reward: evaluate.Reward = "clicks",
    margin: evaluate.Margin = 0.0,
) -> None:
    """Serve a page that turns the policy, and shows what that does: slates, figures, who turned what.

    Example: rheostat console --user mary --user john
    """
    import uvicorn
    from confluent_kafka import KafkaException

    from onnx_models.artifact import read_items, read_manifest
    from streaming.io.scrape import OURS, scrape
    from streaming.web.app import Access, build
    from streaming.web.follow import Follower
    from streaming.web.views import ConstraintState

    users = user or [own_name()]
    token = secret(token_file, TOKEN_VARIABLE)
    if token is not None and len(users) > 1:
        fail("a token is of one user; leave it out where there are several, each has a link with its own")
    if gate and log is None:
        fail("--gate asks the log; name it with --log, the folder that `rheostat log sink` fills")
    words = printer()

    def states() -> list[ConstraintState]:
        stack = running(HOME)
        url = learn or ("" if stack is None else stack.metrics.get("learn", ""))
        if not url:
            msg = "the state of constraints is told by the job learn; name its metrics with --learn URL"
            raise OSError(msg)
        return [
            ConstraintState(labels["scope"], labels["constraint"], None if value < 0 else value)
            for labels, value in scrape(url, "learn").samples(f"{OURS}{VIOLATED}")
        ]

    with listening(host, port) as listener:
        with errors(KafkaException), words.status("reading the shop …"):
            follower = Follower(cluster, read_items(model, read_manifest(model)))
        names = {token or secrets.token_urlsafe(16): name for name in users}
        is_loopback = host in LOOPBACK
        access = Access(names, list(LOOPBACK) if is_loopback else ["*"], is_loopback, author_header)
        listener.listen()  # who follows the link at once is waited for
        for its, name in names.items():
            whose = f" of {name}" if user else ""
            say(f"the console{whose}: http://{host}:{listener.getsockname()[1]}/#token={its}", words)
        say("who has this link may turn the policy; Ctrl-C ends it", words)
        asks = None
        if log is not None:
            from streaming.web.gate import Gate

            asks = Gate(log, model, Measure(reward), margin, evaluate.LEAST_EFFECTIVE, refuses=gate)
        server = uvicorn.Config(build(follower, access, states, asks), log_level="warning", timeout_graceful_shutdown=1)
        try:
            uvicorn.Server(server).run([listener])
        finally:
            follower.close()
