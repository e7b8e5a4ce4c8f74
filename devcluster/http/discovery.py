"""Discovery: the documents in which the API server describes its versions, groups, resources and health.

See https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api.
"""

import platform
from functools import cache
from typing import Any

from devcluster.http.field_docs import describe_fields
from devcluster.http.messages import Request, Response, json_response
from devcluster.http.scale import SCALE
from devcluster.kinds import REVIEWS, SERVED, TOKEN_REQUEST, Kind

GIT_VERSION = "v1.37.2+devcluster"
_MAJOR, _MINOR = "1", "37"
_HEALTH = frozenset({"/healthz", "/livez", "/readyz", "/healthz/ping", "/livez/ping", "/readyz/ping"})
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_SUBRESOURCE_VERBS = {"status": ["get", "patch", "update"], "scale": ["get", "patch", "update"], "log": ["get"],
                      "token": ["create"]}  # fmt: skip
_FOREIGN = {"scale": SCALE, "token": TOKEN_REQUEST}  # subresources that are kinds of their own
# Just enough for kubectl to let this server check unknown fields, instead of looking for a schema itself.
_PATCH_PARAMETERS = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in
                     ("dryRun", "fieldManager", "fieldValidation")]  # fmt: skip


def find_document(request: Request) -> Response | None:
    """Return the discovery document at a path; None for any other path."""
    path = request.path.rstrip("/") or "/"
    if path in _HEALTH:
        return Response(200, b"ok", "text/plain; charset=utf-8")
    document = _documents().get(path) or _openapi(path.removeprefix("/openapi/v3/"))
    return None if document is None else json_response(200, document)


@cache
def _documents() -> dict[str, Any]:
    versions = dict.fromkeys(kind.api_version for kind in SERVED)
    groups = [version for version in versions if "/" in version]
    documents = {
        "/": {"paths": ["/api", "/api/v1", "/apis", *(f"/apis/{group}" for group in groups), *sorted(_HEALTH),
                        "/version"]},
        "/version": _version(),
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(version) for version in groups]},
        "/openapi/v3": {"paths": {_root(version): {"serverRelativeURL": f"/openapi/v3/{_root(version)}"}
                                  for version in versions}},
    }  # fmt: skip
    for version in versions:
        documents[f"/{_root(version)}"] = _resources(version)
    for version in groups:
        documents[f"/apis/{version.partition('/')[0]}"] = {"kind": "APIGroup", "apiVersion": "v1", **_group(version)}
    return documents


def _root(api_version: str) -> str:
    return f"apis/{api_version}" if "/" in api_version else f"api/{api_version}"


def _version() -> dict[str, str]:
    return {
        "major": _MAJOR,
        "minor": _MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"python{platform.python_version()}",
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def _group(api_version: str) -> dict[str, Any]:
    name, _, version = api_version.partition("/")
    entry = {"groupVersion": api_version, "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def _resources(api_version: str) -> dict[str, Any]:
    kinds = [kind for kind in SERVED if kind.api_version == api_version]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": [entry for kind in kinds for entry in _entries(kind)],
    }


def _entries(kind: Kind) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": ["create"] if kind in REVIEWS else _VERBS,
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    return [entry] + [
        {
            "name": f"{kind.plural}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            **({"group": _FOREIGN[name].group, "version": _FOREIGN[name].version} if name in _FOREIGN else {}),
            "kind": _FOREIGN.get(name, kind).kind,
            "verbs": _SUBRESOURCE_VERBS[name],
        }
        for name in kind.subresources
    ]


@cache
def _openapi(root: str) -> dict[str, Any] | None:
    """Return the document with paths and schemas at `/openapi/v3/<root>`; None if nothing is served there."""
    kinds = [kind for kind in SERVED if _root(kind.api_version) == root]
    if not kinds:
        return None
    paths = {}
    for kind in kinds:
        place = "namespaces/{namespace}/" if kind.namespaced else ""
        paths[f"/{root}/{place}{kind.plural}/{{name}}"] = {
            "patch": {
                "parameters": _PATCH_PARAMETERS,
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            }
        }
    info = {"title": "Kubernetes", "version": GIT_VERSION}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": describe_fields(kinds)}}
