"""Counting the calls to the API server, by Kubernetes' own verbs and resources."""

import time
from collections.abc import Mapping
from functools import lru_cache

from app.telemetry import metrics, spans

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def verb_and_resource(method: str, path: str, query: Mapping[str, object]) -> tuple[str, str]:
    """Return what a call does to what, as roles of RBAC name it: `patch` and `jobs`, `get` and `pods/log`.

    Args:
        method: of the call.
        path: one of `app.kube.client`'s.
        query: of the call.
    """
    return _verb_and_resource(method, path, "watch" in query)


@lru_cache  # most calls are of a few kinds
def _verb_and_resource(method: str, path: str, watch: bool) -> tuple[str, str]:
    _, found, rest = path.partition("/namespaces/")
    # Behind the namespace: resource, name, subresource. Where there is no namespace, the resource is last.
    steps = rest.split("/")[1:] if found else path.split("/")[-1:]
    resource = "/".join(steps[::2])
    if method in _VERBS:
        return _VERBS[method], resource
    if watch:
        return "watch", resource
    return ("get" if len(steps) > 1 else "list"), resource


class ApiCall:
    """One call to the API server. It begins when this is made."""

    def __init__(self, method: str, path: str, query: Mapping[str, object]) -> None:
        self._verb, self._resource = verb_and_resource(method, path, query)
        self._lasts = self._verb == "watch" or self._resource == "pods/log"
        self._open = metrics.API_CALLS_OPEN.labels("stream" if self._lasts else "call")
        self._open.inc()
        self._code = "unanswered"
        self._span = spans.begin_api_call_span(
            f"{self._verb} {self._resource}", {"http.request.method": method, "k8s.resource": self._resource}
        )
        self._began = time.perf_counter()

    def answered(self, status: int) -> None:
        """Note that the head of its response has arrived."""
        self._code = str(status)
        if not self._lasts:
            seconds = time.perf_counter() - self._began
            metrics.API_SECONDS.labels(self._verb, self._resource).observe(seconds)

    def unreachable(self) -> None:
        """Note that it could not be sent."""
        self._code = "unreachable"

    def ended(self) -> None:
        """Note that it is over, whatever its outcome."""
        self._open.dec()
        spans.end_api_call_span(self._span, self._code)
        metrics.API_CALLS.labels(self._verb, self._resource, self._code).inc()
