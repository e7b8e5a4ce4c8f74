"""The request that tells a receiver of the end of a run: a CloudEvent 1.0. Pure.

Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md and
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import json
from datetime import UTC, datetime
from typing import NamedTuple

from app.common.types import Json
from app.domain.names import id_in
from app.domain.run import Run
from schemas.notify import EventFormat

TYPE_PREFIX = "dev.slimfaas.run."
"""Begins the type of each event; the outcome follows."""


class EventRequest(NamedTuple):
    """A request without its signature.

    Attributes:
        id: of the event. It is the same each time the event is sent, and no other end has it.
        headers: those that CloudEvents demands.
        body: JSON.
    """

    id: str
    headers: dict[str, str]
    body: bytes


def build_event_request(run: Run, view: Json, namespace: str, event_format: EventFormat) -> EventRequest:
    """Build the request that tells of the end of a run.

    Args:
        run: has ended.
        view: the run as `GET` shows it.
        namespace: of the run.
        event_format: see `Notify`.
    """
    assert run.end is not None
    attributes = {
        "specversion": "1.0",
        "id": f"{run.uid}-ended",
        "source": f"/namespaces/{namespace}/job/{run.definition}",
        "type": TYPE_PREFIX + run.end.outcome,
        "subject": id_in(run.definition, run.name),
    }
    if run.end.ended_at is not None:
        ended = datetime.fromtimestamp(run.end.ended_at / 1_000_000, UTC)
        attributes["time"] = ended.strftime("%Y-%m-%dT%H:%M:%SZ")
    if event_format == "Binary":
        headers = {f"ce-{name}": value for name, value in attributes.items()}
        return EventRequest(attributes["id"], {**headers, "Content-Type": "application/json"}, _write(view))
    body = _write({**attributes, "datacontenttype": "application/json", "data": view})
    return EventRequest(attributes["id"], {"Content-Type": "application/cloudevents+json; charset=utf-8"}, body)


def _write(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
