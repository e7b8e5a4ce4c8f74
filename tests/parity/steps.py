"""The steps of cases; a case takes each step on both servers."""

from collections.abc import Callable
from typing import Any

from tests.parity.sides import JSON, MERGE, Json, Query, Session

Step = Callable[[Session], None]

JOBS = "/apis/batch/v1/namespaces/$NS/jobs"
CRON_JOBS = "/apis/batch/v1/namespaces/$NS/cronjobs"
PODS = "/api/v1/namespaces/$NS/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/$NS/deployments"
STATEFUL_SETS = "/apis/apps/v1/namespaces/$NS/statefulsets"
EVENTS = "/api/v1/namespaces/$NS/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/$NS/leases"
CONFIG_MAPS = "/api/v1/namespaces/$NS/configmaps"
SECRETS = "/api/v1/namespaces/$NS/secrets"
NAMESPACES = "/api/v1/namespaces"


def call(method: str, path: str, body: Any = None, *, content_type: str = JSON, accept: str = JSON) -> Step:
    """Send any request; the query is part of the path."""
    path, _, query = path.partition("?")
    parameters = dict(part.partition("=")[::2] for part in query.split("&")) if query else None
    return lambda session: void(
        session.request(method, path, body, query=parameters, content_type=content_type, accept=accept)
    )


def create(collection: str, manifest: Any, **query: str | int) -> Step:
    """POST to a collection."""
    return lambda session: void(session.request("POST", collection, manifest, query=query))


def get(collection: str, name: str = "$NAME", accept: str = JSON) -> Step:
    """GET of one object."""
    return lambda session: void(session.request("GET", f"{collection}/{name}", accept=accept))


def get_list(collection: str, **query: str | int) -> Step:
    """GET of a collection."""
    return lambda session: void(session.request("GET", collection, query=query))


def patch(collection: str, body: Any, content_type: str = MERGE, name: str = "$NAME", **query: str | int) -> Step:
    """PATCH one object; `name` may include a subresource."""
    return lambda session: void(
        session.request("PATCH", f"{collection}/{name}", body, content_type=content_type, query=query)
    )


def replace(collection: str, *changes: tuple[str, Any], name: str = "$NAME", at: str = "") -> Step:
    """PUT the stored object with some fields changed: (dotted path, value), where `...` removes a field.

    `at` is the name of another path to send it to.
    """

    def step(session: Session) -> None:
        body = session.request("GET", f"{collection}/{name}", record=False).body
        for path, value in changes:
            change(body, path, value)
        session.request("PUT", f"{collection}/{at or name}", body)

    return step


def put(collection: str, body: Any, name: str = "$NAME") -> Step:
    """PUT an object as given."""
    return lambda session: void(session.request("PUT", f"{collection}/{name}", body))


def delete(collection: str, options: Any = None, name: str = "$NAME", **query: str | int) -> Step:
    """DELETE of one object."""
    return lambda session: void(session.request("DELETE", f"{collection}/{name}", options, query=query))


def delete_all(collection: str, **query: str | int) -> Step:
    """DELETE of a collection."""
    return lambda session: void(session.request("DELETE", collection, query=query))


def watch(
    collection: str, query: Query, *steps: Step, end: tuple[str, str] | None = None, meanwhile: Step | None = None
) -> Step:
    """Take steps, then record their events with a watch from before the first step.

    Args:
        collection: what to watch.
        query: parameters of the watch; needs `timeoutSeconds` if nothing else ends it.
        steps: taken before the watch.
        end: type and name of the event that ends it.
        meanwhile: taken after the first event.
    """

    def step(session: Session) -> None:
        listed = session.request("GET", collection, query={"limit": 1}, record=False).body
        for one in steps:
            one(session)
        since = {"resourceVersion": listed["metadata"]["resourceVersion"]}

        left = [meanwhile] if meanwhile else []

        def is_end(event: Json) -> bool:
            while left:
                left.pop()(session)
            return end == (event["type"], event["object"]["metadata"].get("name", "").replace(session.name, "$NAME"))

        session.watch(collection, {**since, **query}, until=is_end)

    return step


def pages(collection: str, limit: int, *between: Step, **query: str | int) -> Step:
    """GET a list page by page; `steps` are taken after the first page."""

    def step(session: Session) -> None:
        token, first = "", True
        while first or token:
            more = {"continue": token} if token else {}
            page = session.request("GET", collection, query={"limit": limit, **query, **more}).body
            token = page["metadata"].get("continue", "")
            for one in between if first else ():
                one(session)
            first = False

    return step


def void(_: Any) -> None:
    """Discard a value, because a step returns nothing."""


def change(obj: Json, path: str, value: Any) -> None:
    """Set the field at a dotted path, in place; `...` removes it. Numbers are list indices."""
    *parents, last = path.split(".")
    place: Any = obj
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    if value is ...:
        place.pop(last, None)
    else:
        place[int(last) if isinstance(place, list) else last] = value
