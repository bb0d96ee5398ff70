"""`GET /openapi.json`: the door's endpoints for tools, made from the messages that they take and give."""

from typing import Any

import msgspec

from streaming.schemas import Click, Impression, Purchase, Recommendation, Request, Return, SlateItem

VERSION = "1"
_MESSAGES = (Request, Recommendation, SlateItem, Click, Purchase, Impression, Return)
_GIVEN = {"request_id", "event_time_ms"}  # by the door, where a request for a slate has none


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    _, schemas = msgspec.json.schema_components(_MESSAGES, ref_template="#/components/schemas/{name}")
    asked = schemas["Request"] | {"required": [name for name in schemas["Request"]["required"] if name not in _GIVEN]}
    event_types = {"click": "Click", "purchase": "Purchase", "impression": "Impression", "return": "Return"}
    schemas |= {
        "SlateRequest": asked | {"title": "SlateRequest", "additionalProperties": False},
        "Event": {
            "oneOf": [
                {
                    "allOf": [
                        {"$ref": f"#/components/schemas/{message}"},
                        {"properties": {"type": {"const": name}}, "required": ["type"]},
                    ]
                }
                for name, message in event_types.items()
            ]
        },
        "Error": _object({"error": {"type": "string"}, "request_id": {"type": "string"}}, "error"),
        "DegradedSlate": _object(
            {
                "error": {"type": "string", "description": "why the stream has not answered"},
                "degraded": {"const": True},
                "request_id": {"type": "string"},
                "shopper_id": {"type": "string"},
                "surface": {"type": "string"},
                "slate": {"type": "array", "items": {"$ref": "#/components/schemas/SlateItem"}},
            },
            *("error", "degraded", "request_id", "shopper_id", "surface", "slate"),
        ),
        "Accepted": _object({"accepted": {"type": "integer"}, "refused": _listed()}, "accepted", "refused"),
        "Undelivered": _object(
            {
                "error": {"type": "string"},
                "accepted": {"type": "integer"},
                "refused": _listed(),
                "not_delivered": _listed(),
            },
            *("error", "accepted", "refused", "not_delivered"),
        ),
        "Tensor": _object(
            {
                "name": {"type": "string"},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "datatype": {"type": "string"},
                "data": {"type": "array"},
                "parameters": {"type": "object"},
            },
            *("name", "shape", "datatype"),
        ),
    }
    degraded = _answer("a slate of what is popular, without `rec_id`", "DegradedSlate")
    refused, crowded = _answer("it cannot be used", "Error"), _answer("too many are waited for; `Retry-After`", "Error")
    tensors = {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}}
    rows = _object({"input_data": {"type": "array", "items": {}}}, "input_data")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rheostat", "version": VERSION, "summary": "Slates from the stream, events onto it, models."},
        "security": [{}, {"token": []}],
        "paths": {
            "/v1/recommend": _post(
                "A slate, made in the stream from what is known of the shopper at that moment",
                {"$ref": "#/components/schemas/SlateRequest"},
                {"200": _answer("the slate", "Recommendation"), "400": refused, "429": crowded}
                | dict.fromkeys(("500", "503", "504"), degraded),
            ),
            "/v1/events": _post(
                "What shoppers did and saw; once they are acknowledged, the broker has them",
                _object(
                    {
                        "events": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1000,
                            "items": {"$ref": "#/components/schemas/Event"},
                        }
                    },
                    "events",
                ),
                {
                    "202": _answer("what the broker has", "Accepted"),
                    "400": refused,
                    "429": crowded,
                    "503": _answer("what it has not: send that again", "Undelivered"),
                },
            ),
            "/v1/shoppers/{shopper_id}/features": _get(
                "What Feast has of a shopper",
                {"200": _some("by view and feature"), "404": refused, "503": refused},
                "shopper_id",
            ),
            "/v1/slates/{rec_id}/explanation": _get(
                "Why an item stands at a place of a slate",
                {
                    "200": _some("the parts of its score, and the clicks that speak for it"),
                    "404": refused,
                    "503": refused,
                },
                "rec_id",
                _parameter("place", "query", {"type": "integer", "minimum": 1, "default": 1}),
            ),
            "/predict": _post(
                "The first output of a plain model, for rows",
                rows,
                {"200": _some("`prediction`"), "400": refused, "404": refused},
            ),
            "/v2/models/{name}/infer": {
                "parameters": [_parameter("name", "path", {"type": "string"})],
            }
            | _post(
                "A model's answer to tensors (Open Inference Protocol, with binary tensors)",
                _object({"id": {"type": "string"}, "inputs": tensors, "outputs": {"type": "array"}}, "inputs"),
                {"200": _some("`outputs`"), "400": refused, "404": refused},
            ),
            **{
                path: {"get": {"summary": summary, "responses": {"200": {"description": "yes"}}, "security": [{}]}}
                for path, summary in (
                    ("/healthz", "Whether the process lives"),
                    ("/readyz", "Whether it follows the stream"),
                    ("/metrics", "For Prometheus"),
                )
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _post(summary: str, body: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    return {"post": {"summary": summary, "requestBody": {"required": True, **_content(body)}, "responses": answers}}


def _get(summary: str, answers: dict[str, Any], named: str, *more: dict[str, Any]) -> dict[str, Any]:
    parameters = [_parameter(named, "path", {"type": "string"}), *more]
    return {"get": {"summary": summary, "parameters": parameters, "responses": answers}}


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _some(description: str) -> dict[str, Any]:
    return {"description": description, **_content({"type": "object"})}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, **_content({"$ref": f"#/components/schemas/{schema}"})}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*required]}


def _listed() -> dict[str, Any]:
    """Return the schema of events by their number, each with why."""
    of_event = _object({"event": {"type": "integer"}, "error": {"type": "string"}}, "event", "error")
    return {"type": "array", "items": of_event}
