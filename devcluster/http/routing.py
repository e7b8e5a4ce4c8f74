"""Routing: the resources and verbs of request paths. Pure functions.

See https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris.
"""

from dataclasses import dataclass
from urllib.parse import unquote

from devcluster.errors import no_such_path, not_served
from devcluster.http.messages import Request
from devcluster.kinds import NAMESPACE, REVIEWS, SERVED, Kind

_GROUPS = frozenset(kind.group for kind in SERVED if kind.group)
_BY_PATH = {(kind.api_version, kind.plural): kind for kind in SERVED}


@dataclass(frozen=True)
class Route:
    """A resource path. `name` None: the collection; `namespace` None: all namespaces, or a cluster-wide kind."""

    kind: Kind
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    watch: bool = False  # the deprecated /watch/ prefix


def parse_path(path: str) -> Route:
    """Parse a path below `/api/v1/` or `/apis/<group>/<version>/`.

    Raises:
        ApiError: 404, its kind is not served.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    api_version, rest = _split_version(parts)
    watch = rest[:1] == ["watch"]
    if watch:
        rest = rest[1:]
    namespace = None
    # /namespaces/x is an object, /namespaces/x/status its subresource; longer paths are inside the namespace.
    if rest[:1] == ["namespaces"] and len(rest) > 2 and not (rest[2] in NAMESPACE.subresources and len(rest) == 3):
        namespace, rest = rest[1], rest[2:]
    if not rest or len(rest) > 3 or not all(rest):
        raise not_served()
    kind = _BY_PATH.get((api_version, rest[0]))
    if kind is None or kind.namespaced < (namespace is not None):
        raise not_served()
    name = rest[1] if len(rest) > 1 else None
    subresource = rest[2] if len(rest) > 2 else None
    if subresource is not None and subresource not in kind.subresources:
        raise not_served()
    if name is not None and (kind in REVIEWS or (kind.namespaced and namespace is None)):
        raise not_served()
    return Route(kind, namespace, name, subresource, watch)


def _split_version(parts: list[str]) -> tuple[str, list[str]]:
    if parts[:1] == ["api"]:
        return "/".join(parts[1:2]), parts[2:]
    if parts[:1] == ["apis"] and parts[1:2] and parts[1] in _GROUPS:
        return "/".join(parts[1:3]), parts[3:]
    raise no_such_path()


def verb_of(request: Request, route: Route) -> str:
    """Return the Kubernetes verb of a request, as in RBAC and audit logs; "" when there is none."""
    if route.kind in REVIEWS or route.subresource == "token":
        verbs = {"POST": "create"}
    elif route.name is None:
        watching = route.watch or request.flag("watch")
        verbs = {"GET": "watch" if watching else "list", "POST": "create", "DELETE": "deletecollection"}
    elif route.watch:
        verbs = {"GET": "watch"}
    else:
        verbs = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    return verbs.get(request.method, "")
