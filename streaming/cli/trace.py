"""`rheostat trace`: the way of clicks, slates and what became of them, to a collector of OpenTelemetry."""

from typing import Annotated, Any

import typer

from streaming.cli.group import fail
from streaming.cli.options import AsJson, OnCluster, errors, print_json, printer, say, stopping


def trace(
    cluster: OnCluster,
    otlp: Annotated[str, typer.Option(metavar="URL", help="Of the collector, as http://collector:4318.")],
    share: Annotated[float, typer.Option(min=0.0001, max=1.0, help="Of slates that are traced.")] = 0.01,
    once: Annotated[bool, typer.Option(help="Trace what the topics have, and end there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow events, slates and outcomes, and send each slate's way as a trace, by OTLP over HTTP.

    Credentials are OTEL_EXPORTER_OTLP_HEADERS of the environment. A trace goes on with the app's own where its events
    have a `traceparent` header; otherwise its id is the slate's rec_id.

    Example: rheostat trace --otlp http://collector:4318 --share 0.05
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        fail("OpenTelemetry is not installed; pip install 'rheostat[otel]'")
    from confluent_kafka import KafkaException

    from streaming.io.tracing import follow

    console = printer(as_json)
    exporter: Any = OTLPSpanExporter(f"{otlp.rstrip('/')}/v1/traces")
    with stopping() as stop, errors(KafkaException), console.status("tracing …"):
        counts = follow(cluster, exporter, share, stop.is_set, once=once)
    say(f"{counts.slates} slates and {counts.outcomes} outcomes, {counts.refused} spans were not taken", console)
    print_json(counts._asdict(), as_json)
    raise typer.Exit(1 if counts.refused else 0)
