"""The API without sockets: it turns a request into a response or a stream.

Follows the handlers of `k8s.io/apiserver/pkg/endpoints/handlers`.
"""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from devcluster import errors
from devcluster.deletion import Propagation, is_released
from devcluster.errors import ApiError, quote
from devcluster.http import bodies, discovery
from devcluster.http.access_reviews import review_access
from devcluster.http.lists import check_list_options, list_page, read_options
from devcluster.http.logs import LogSource, read_log, read_log_options
from devcluster.http.messages import Request, Response, Stream, check_dry_run, error_response, json_response
from devcluster.http.origins import check_origin
from devcluster.http.representation import Representation, choose_representation
from devcluster.http.routing import Route, parse_path, verb_of
from devcluster.http.scale import SCALE, change_replicas, scale_of
from devcluster.http.tokens import request_token, review_token
from devcluster.http.watches import open_watch
from devcluster.kinds import ACCESS_REVIEW, NAMESPACE, POD, REVIEWS, SERVICE_ACCOUNT, TOKEN_REVIEW
from devcluster.objects import Object, metadata_of
from devcluster.store import Store
from devcluster.tokens import TokenAuthority
from devcluster.validation import warn_of_new

logger = logging.getLogger(__name__)


class Api:
    """Serves one store. `count` is called with the verb and the resource (`jobs`, `jobs/status`) of each request."""

    def __init__(
        self, store: Store, logs: LogSource, tokens: TokenAuthority, count: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._logs = logs
        self._tokens = tokens
        self._count = count

    def handle(self, request: Request) -> Response | Stream:
        """Respond to a request; never raises."""
        try:
            check_origin(request)
            return self._dispatch(request)
        except ApiError as error:
            return error_response(error)
        except Exception as error:
            logger.exception("%s %s failed", request.method, request.path)
            return error_response(errors.internal_error(repr(error)))

    def _dispatch(self, request: Request) -> Response | Stream:
        document = discovery.find_document(request)
        if document is not None:
            if request.method != "GET":
                raise errors.method_not_allowed()
            return document
        route = parse_path(request.path)
        verb = verb_of(request, route)
        resource = route.kind.plural + (f"/{route.subresource}" if route.subresource else "")
        self._count(verb, resource)
        if route.kind is SERVICE_ACCOUNT and route.namespace is not None:
            # Every valid name is a namespace and has its default account, even before its first use.
            with contextlib.suppress(ApiError):
                self._store.ensure_namespace(route.namespace)
        if route.subresource == "log":
            if verb != "get":
                raise errors.method_not_allowed()
            assert route.name is not None
            options = read_log_options(request, route.name)  # checked before the pod's existence
            return read_log(self._logs, self._store.get(POD, route.namespace, route.name), options)
        handlers: dict[str, Callable[[Request, Route], Response | Stream]] = {
            "get": self._get,
            "list": self._list,
            "watch": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        if verb == "create" and (route.kind in REVIEWS or route.subresource == "token"):
            return self._answer_at_once(request, route)
        if verb not in handlers or (route.subresource and verb not in ("get", "update", "patch")):
            raise errors.method_not_allowed()
        return handlers[verb](request, route)

    def _get(self, request: Request, route: Route) -> Response:
        assert route.name is not None
        representation = choose_representation(request)
        if route.kind is NAMESPACE:
            # Every valid name is a namespace; an invalid one is not found.
            with contextlib.suppress(ApiError):
                self._store.ensure_namespace(route.name)
        obj = self._store.get(route.kind, route.namespace, route.name)
        return _respond_with_object(200, route, representation, obj, [])

    def _list(self, request: Request, route: Route) -> Response | Stream:
        representation = choose_representation(request)
        options = read_options(request, route)
        if verb_of(request, route) == "watch":
            return open_watch(self._store, request, route, options, representation)
        check_list_options(request, options)
        objects, metadata = list_page(self._store, route, options)
        return json_response(200, representation.shape_list(route.kind, objects, metadata))

    def _create(self, request: Request, route: Route) -> Response:
        representation = choose_representation(request)
        if route.kind.namespaced and route.namespace is None:
            raise errors.method_not_allowed()
        warnings: list[str] = []
        obj = bodies.read_object(request, route, "CreateOptions", warnings)
        created = self._store.create(route.kind, obj, dry_run=request.dry_run("CreateOptions"))
        warnings += warn_of_new(route.kind, created)
        return _respond_with_object(201, route, representation, created, warnings)

    def _answer_at_once(self, request: Request, route: Route) -> Response:
        """Respond to what is not stored: a review, or a request for a token."""
        choose_representation(request)  # only to refuse unsupported media types; these have no table form
        warnings: list[str] = []
        if route.kind is ACCESS_REVIEW:
            review = review_access(self._store, request, route, warnings)
            return json_response(201, review, _warning_headers(warnings))
        respond = review_token if route.kind is TOKEN_REVIEW else request_token
        body = respond(self._store, self._tokens, request, route, warnings)
        return json_response(201, body, _warning_headers(warnings))

    def _update(self, request: Request, route: Route) -> Response:
        assert route.name is not None
        representation = choose_representation(request)
        warnings: list[str] = []
        new = bodies.read_object(request, _form(route), "UpdateOptions", warnings)
        bodies.check_name(route, new)
        dry_run = request.dry_run("UpdateOptions")

        def take_new(old: Object) -> Object:
            uid, present = metadata_of(new).get("uid", ""), old["metadata"]["uid"]
            if uid and uid != present:
                message = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {present}"
                raise errors.conflict(route.kind, metadata_of(new)["name"], message)
            return new

        try:
            stored = self._change(route, take_new, dry_run=dry_run)
        except ApiError as error:
            if error.reason != "NotFound" or not route.kind.create_on_update or route.subresource:
                raise
            new["metadata"].pop("resourceVersion", None)
            created = self._store.create(route.kind, new, dry_run=dry_run)
            return _respond_with_object(201, route, representation, created, warnings)
        return _respond_with_object(200, route, representation, stored, warnings)

    def _patch(self, request: Request, route: Route) -> Response:
        assert route.name is not None
        representation = choose_representation(request)
        warnings: list[str] = []
        change = bodies.read_patch(request, _form(route), warnings)
        stored = self._change(route, change, dry_run=request.dry_run("PatchOptions"))
        return _respond_with_object(200, route, representation, stored, warnings)

    def _change(self, route: Route, change: Callable[[Object], Object], *, dry_run: bool) -> Object:
        """Apply `change` to the object, or to the subresource that the route names, and store the result."""
        assert route.name is not None
        before: list[str] = []

        def change_stored(stored: Object) -> Object:
            before.append(stored["metadata"]["resourceVersion"])
            return change_replicas(stored, change) if route.subresource == "scale" else change(stored)

        subresource = "status" if route.subresource == "status" else None
        new = self._store.update(
            route.kind, route.namespace, route.name, change_stored, subresource=subresource, dry_run=dry_run
        )
        if is_released(new):  # removed with its last finalizer; only watches see this last state
            new = {**new, "metadata": {**new["metadata"], "resourceVersion": before[-1]}}
        return new

    def _delete(self, request: Request, route: Route) -> Response:
        assert route.name is not None
        representation = choose_representation(request)
        options = bodies.read_delete_options(request)
        last = self._delete_one(route, route.name, options)
        gone = is_released(last) or not metadata_of(last).get("deletionTimestamp")
        headers = _warning_headers([_ORPHAN_WARNING] if _orphans_silently(route, options) else [])
        if route.kind.returns_deleted or not gone:
            status = 202 if not gone and options.get("orphanDependents") is False else 200
            return json_response(status, representation.shape_object(route.kind, last), headers)
        return json_response(200, _success(route, metadata_of(last)), headers)

    def _delete_one(self, route: Route, name: str, options: Object) -> Object:
        propagation: Propagation | None = options.get("propagationPolicy")
        orphan = options.get("orphanDependents")
        if propagation is None and orphan is not None:
            propagation = "Orphan" if orphan else "Background"
        preconditions = options.get("preconditions") or {}
        return self._store.delete(
            route.kind,
            route.namespace,
            name,
            propagation=propagation,
            grace_period_seconds=options.get("gracePeriodSeconds"),
            uid=preconditions.get("uid"),
            resource_version=preconditions.get("resourceVersion"),
            dry_run=check_dry_run("DeleteOptions", options.get("dryRun") or ()),
        )

    def _delete_collection(self, request: Request, route: Route) -> Response:
        representation = choose_representation(request)
        if route.kind.namespaced and route.namespace is None:
            raise errors.method_not_allowed()
        options = bodies.read_delete_options(request)
        objects, metadata = list_page(self._store, route, read_options(request, route))
        for obj in objects:
            own = metadata_of(obj)
            place = Route(route.kind, own.get("namespace"))
            with contextlib.suppress(ApiError):  # deleted meanwhile, as the client wants
                self._delete_one(place, own["name"], options)
        return json_response(200, representation.shape_list(route.kind, objects, metadata))


def _form(route: Route) -> Route:
    """Return the route whose kind the client sees: a Scale is a kind of its own."""
    return replace(route, kind=SCALE) if route.subresource == "scale" else route


def _respond_with_object(
    status: int, route: Route, representation: Representation, obj: Object, warnings: list[str]
) -> Response:
    shown = scale_of(obj) if route.subresource == "scale" else obj
    return json_response(status, representation.shape_object(_form(route).kind, shown), _warning_headers(warnings))


_ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)


def _orphans_silently(route: Route, options: Object) -> bool:
    unsaid = options.get("propagationPolicy") is None and options.get("orphanDependents") is None
    return unsaid and route.kind.default_propagation == "Orphan"


def _warning_headers(warnings: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple(("Warning", f"299 - {quote(warning)}") for warning in warnings)


def _success(route: Route, metadata: Object) -> Object:
    details = {"name": metadata["name"], "group": route.kind.group, "kind": route.kind.plural, "uid": metadata["uid"]}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }
