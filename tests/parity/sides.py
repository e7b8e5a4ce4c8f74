"""A client of one server that turns its responses into a form in which two servers can be compared."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client import ApiClient

JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_CALL_SECONDS = 15.0
_UID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TOKEN = re.compile(r"\bey[\w-]{9,}\.ey[\w-]+(\.[\w-]*)?")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

Json = dict[str, Any]
Query = Mapping[str, str | int]
Facts = dict[str, Any]
"""A flattened response: path -> value, such as `spec.template.spec.containers[0].image`."""


@dataclass(frozen=True)
class Response:
    """A response; `body` is text unless it is JSON."""

    status: int
    body: Any
    warnings: tuple[str, ...]


class Side:
    """One of the two servers, and the namespace for its cases.

    `forget` makes it drop its history; `None` if the tests may not do that.
    """

    def __init__(self, admin: ApiClient, namespace: str, *, forget: Callable[[], None] | None = None) -> None:
        self.namespace = namespace
        self._forget = forget
        self._url = admin.configuration.host.rstrip("/")
        self._pool: urllib3.PoolManager = admin.rest_client.pool_manager
        settings = admin.configuration.auth_settings()
        self._headers = {setting["key"]: setting["value"] for setting in settings.values()}

    def call(
        self, method: str, path: str, body: bytes | None = None, content_type: str = JSON, accept: str = JSON
    ) -> Response:
        """Send one request."""
        response = self._open(method, path, body, content_type, accept)
        text = response.data.decode()
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = text
        warnings = tuple(response.headers.getlist("Warning"))
        return Response(response.status, decoded, warnings)

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[Json]]:
        """Open a watch; yield its events."""
        response = self._open("GET", path, None, JSON, JSON, preload_content=False)
        try:
            yield _lines(response)
        finally:
            response.close()

    def forget(self) -> None:
        """Drop the history up to now."""
        assert self._forget is not None
        self._forget()

    def _open(
        self, method: str, path: str, body: bytes | None, content_type: str, accept: str, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        headers = {**self._headers, "Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        url = f"{self._url}{path}"
        return self._pool.request(
            method, url, body=body, headers=headers, retries=False, timeout=_CALL_SECONDS, **options
        )


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[Json]:
    rest = b""
    for chunk in response.stream(amt=None):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(json.loads, lines)


class Session:
    """The requests of one case to one server, and a comparable record of the responses.

    In paths and bodies, `$NS` is the server's namespace, and `$NAME` a name unique to the case.
    """

    def __init__(self, side: Side, name: str) -> None:
        self.side = side
        self.name = name
        self.recorded: list[Facts] = []
        self._versions: dict[str, list[int]] = {}  # by uid
        self._uids: list[str] = []

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        record: bool = True,
    ) -> Response:
        """Send one request and record its response.

        Args:
            method: the HTTP method.
            path: the path of the API.
            body: bytes as they are, anything else as JSON.
            query: parameters.
            content_type: of the body.
            accept: the requested form of the response.
            record: whether to compare the response.
        """
        target = self.fill(path) + (f"?{self.fill(urlencode(query, safe='$'))}" if query else "")
        data = body if isinstance(body, bytes | None) else self.fill(json.dumps(body)).encode()
        answer = self.side.call(method, target, data, content_type, accept)
        if record:
            metadata = body.get("metadata") if isinstance(body, dict) else None
            prefix = metadata.get("generateName", "") if isinstance(metadata, dict) else ""
            facts = self._facts_of_response(answer, prefix)
            self.recorded.append({"call": f"{method} {path}", "HTTP status": answer.status, **facts})
        return answer

    def watch(self, path: str, query: Query, *, until: Callable[[Json], bool] | None = None) -> None:
        """Record the events of a watch, until it ends or until `until` accepts an event.

        Consecutive bookmarks are recorded once, because their number depends on time.
        """
        for event in self.events(path, query):
            recorded = {"event": event["type"], **self.facts(event["object"])}
            if event["type"] != "BOOKMARK" or self.recorded[-1:] != [recorded]:
                self.recorded.append(recorded)
            if until is not None and until(event):
                return

    def events(self, path: str, query: Query) -> Iterator[Json]:
        """Return the events of a watch, until it ends."""
        target = f"{self.fill(path)}?{self.fill(urlencode({'watch': 'true', **query}, safe='$'))}"
        with self.side.stream(target) as events:
            yield from events

    def fill(self, text: str) -> str:
        """Replace the placeholders."""
        return text.replace("$NAME", self.name).replace("$NS", self.side.namespace)

    def _facts_of_response(self, answer: Response, prefix: str) -> Facts:
        """Return the facts of a response to compare; a name that starts with `prefix` was generated by the server."""
        facts: Facts = {"warnings": sorted(self._plain(warning) for warning in answer.warnings)}
        if not isinstance(answer.body, dict):
            return facts
        if answer.body.get("kind") == "Status":
            status = self._facts_of_status(answer.body)
            if prefix and status["details.name"].startswith(prefix):
                status["details.name"] = f"{prefix}*"
            return {**facts, **status}
        return {**facts, **self.facts(answer.body)}

    def _facts_of_status(self, status: Json) -> Facts:
        """Return the facts of a Status by which clients decide. The message is for people, and is not compared."""
        details = status.get("details") or {}
        causes = {(cause.get("field", ""), cause.get("reason", "")) for cause in details.get("causes") or ()}
        named = {f"details.{key}": self._plain(str(details.get(key, ""))) for key in ("name", "group", "kind")}
        return {"status": status.get("status"), "reason": status.get("reason"), "causes": sorted(causes), **named}

    def facts(self, obj: Json) -> Facts:
        """Return the facts of an object or list to compare; values that may differ are normalized."""
        if "items" in obj:
            present = {key: bool(value) for key, value in obj["metadata"].items() if key != "remainingItemCount"}
            remaining = obj["metadata"].get("remainingItemCount")
            items = [self.facts(item) for item in obj["items"] or ()]
            return {"kind": obj["kind"], "metadata": present, "remainingItemCount": remaining, "items": items}
        if obj.get("kind") == "Status":
            return self._facts_of_status(obj)
        text = json.dumps(self._with_labelled_versions(obj))
        metadata: Json = obj.get("metadata") or {}
        if metadata.get("generateName"):
            text = text.replace(metadata["name"], f"{metadata['generateName']}*")
        return flatten(json.loads(self._plain(text)))

    def _with_labelled_versions(self, value: Any) -> Any:
        """Replace resourceVersions, which are server-specific, by numbers per object, counted from 1."""
        if isinstance(value, list):
            return [self._with_labelled_versions(item) for item in value]
        if not isinstance(value, dict):
            return value
        copy = {key: self._with_labelled_versions(item) for key, item in value.items()}
        if copy.get("resourceVersion"):
            copy["resourceVersion"] = self._label(copy["uid"], copy["resourceVersion"]) if "uid" in copy else "set"
        return copy

    def _label(self, uid: str, version: str) -> str:
        versions = self._versions.setdefault(uid, [])
        if int(version) not in versions:
            versions.append(int(version))
        return f"version {versions.index(int(version)) + 1}" if versions == sorted(versions) else "an older version"

    def _plain(self, text: str) -> str:
        """Replace what differs between any two servers: names, uids, tokens, current times."""
        text = text.replace(self.name, "$NAME").replace(self.side.namespace, "$NS")
        text = _TOKEN.sub("a token", text)
        text = _UID.sub(lambda found: self._uid(found[0]), text)
        return _TIME.sub(_time, text)

    def _uid(self, uid: str) -> str:
        if uid not in self._uids:
            self._uids.append(uid)
        return f"uid {self._uids.index(uid) + 1}"


def _time(found: re.Match[str]) -> str:
    # Times written by the cases are old, and must be returned exactly.
    years = datetime.now(UTC).year - int(found[0][:4])
    if years > 1:
        return found[0]
    return "time" if found[1] is None else f"time with {len(found[1]) - 1} digits"


def flatten(value: Any, path: str = "") -> Facts:
    """Turn nested JSON into path -> leaf; an empty object or list is a leaf as well."""
    if isinstance(value, dict) and value:
        parts = [flatten(item, f"{path}.{key}" if path else key) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [flatten(item, f"{path}[{index}]") for index, item in enumerate(value)]
    else:
        return {path: value}
    return {key: leaf for part in parts for key, leaf in part.items()}
