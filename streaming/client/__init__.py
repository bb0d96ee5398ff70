"""What an app imports: slates as they come or when asked for, and what became of them.

The extra `client` brings it without Flink, Feast and onnxruntime.
"""

from features.errors import (
    DeliveryError,
    EventRefusedError,
    RequestExpiredError,
    RequestFailedError,
    RequestRefusedError,
    RheostatError,
    TopicError,
)
from streaming.client.client import Client, RequestFields
from streaming.client.feedback import click, impression, purchase
from streaming.client.recommendations import Recommendations
from streaming.schemas import (
    AskedItem,
    Click,
    ClickKind,
    Fallback,
    Impression,
    Purchase,
    ReasonCode,
    Recommendation,
    Return,
    SlateItem,
)

__all__ = [
    "AskedItem",
    "Click",
    "ClickKind",
    "Client",
    "DeliveryError",
    "EventRefusedError",
    "Fallback",
    "Impression",
    "Purchase",
    "ReasonCode",
    "Recommendation",
    "Recommendations",
    "RequestExpiredError",
    "RequestFailedError",
    "RequestFields",
    "RequestRefusedError",
    "Return",
    "RheostatError",
    "SlateItem",
    "TopicError",
    "click",
    "impression",
    "purchase",
]
