"""Follow every revision of a collection's objects, in order."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import urllib3
from kubernetes import client

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 120.0

_Json = dict[str, Any]


class Revisions:
    """A collection that is listed once and then watched, over any number of connections.

    Args:
        admin: the client to use.
        path: the collection's path.
        see: called for each change with the watch event's type and the object.

    Attributes:
        is_behind: the API server cannot serve a watch from the last revision seen; cleared by `catch_up`.
    """

    def __init__(self, admin: client.ApiClient, path: str, see: Callable[[str, _Json], None]) -> None:
        self._admin = admin
        self._path = path
        self._see = see
        self._resource_version = ""
        self._seen: dict[str, _Json] = {}  # by uid
        self._response: urllib3.BaseHTTPResponse | None = None
        self.is_behind = False

    def begin(self) -> None:
        """List the collection."""
        found = self._list()
        for item in found["items"]:
            self._take("ADDED", item)
        self._resource_version = found["metadata"]["resourceVersion"]

    def catch_up(self) -> None:
        """Read every revision from the last one seen to the current one, with one exact list per revision.

        https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list

        Raises:
            client.ApiException: 410, because etcd has compacted one of them.
        """
        newest = int(self._list(limit="1")["metadata"]["resourceVersion"])
        for revision in range(int(self._resource_version) + 1, newest + 1):
            items = self._list(resourceVersion=str(revision), resourceVersionMatch="Exact")["items"]
            present = {item["metadata"]["uid"]: item for item in items}
            for uid in self._seen.keys() - present.keys():
                self._take("DELETED", self._seen[uid])
            for uid, item in present.items():
                if uid not in self._seen or _version(item) != _version(self._seen[uid]):
                    self._take("MODIFIED" if uid in self._seen else "ADDED", item)
            self._resource_version = str(revision)
        self.is_behind = False

    def follow(self) -> None:
        """Read one watch until it ends."""
        query = [("watch", "true"), ("resourceVersion", self._resource_version), ("timeoutSeconds", "60")]
        self._response = self._get([*query, ("allowWatchBookmarks", "true")])
        try:
            for event in _lines(self._response):
                if event["type"] == "ERROR":
                    raise client.ApiException(status=event["object"].get("code"), reason=json.dumps(event["object"]))
                if event["type"] != "BOOKMARK":
                    self._take(event["type"], event["object"])
                self._resource_version = event["object"]["metadata"]["resourceVersion"]
        finally:
            self._response.close()

    def close(self) -> None:
        """End the current watch; for another thread than the one that reads it."""
        try:
            if self._response is not None:
                self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            pass  # it has ended already

    def _take(self, kind: str, item: _Json) -> None:
        if kind == "DELETED":
            self._seen.pop(item["metadata"]["uid"], None)
        else:
            self._seen[item["metadata"]["uid"]] = item
        self._see(kind, item)

    def _list(self, **query: str) -> _Json:
        found: _Json = json.loads(self._get(list(query.items())).data)
        return found

    def _get(self, query: list[tuple[str, str]]) -> urllib3.BaseHTTPResponse:
        request = self._admin.param_serialize(
            "GET", self._path, query_params=query, header_params={}, auth_settings=["BearerToken"]
        )
        response: urllib3.BaseHTTPResponse = self._admin.call_api(
            *request, _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS)
        ).response
        if response.status != 200:
            raise client.ApiException(status=response.status, reason=response.data.decode(errors="replace"))
        return response


def _version(item: _Json) -> str:
    version: str = item["metadata"]["resourceVersion"]
    return version


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[_Json]:
    rest = b""
    for chunk in response.stream(amt=None):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)
