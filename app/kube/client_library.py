"""The part of the official Kubernetes client that the service loads: its settings and its REST layer.

`import kubernetes` loads all parts of the client, and with them pydantic, requests, OAuth and websockets: 12 MiB of a
pod that has 76 (docs/adr/0022-memory.md). Here a part that the service doesn't use is loaded when somebody first uses
it, by the standard library's `LazyLoader`.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_DEFERRED = frozenset(
    f"kubernetes.{part}" for part in ("config", "dynamic", "informer", "leaderelection", "stream", "watch")
)


class _DeferringFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in _DEFERRED else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def _deferring() -> Iterator[None]:
    finder = _DeferringFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _deferring():
    from kubernetes.client.configuration import Configuration
    from kubernetes.client.rest import RESTClientObject, should_bypass_proxies
    from kubernetes.utils.keepalive import tcp_keepalive_socket_options

__all__ = ["Configuration", "RESTClientObject", "should_bypass_proxies", "tcp_keepalive_socket_options"]
