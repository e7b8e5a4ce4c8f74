"""The form of objects that a client accepts: the object itself, a Table, or its metadata alone.

See https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources. Protobuf is
not supported: a client that accepts it also accepts JSON, and one that accepts nothing else gets JSON as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from devcluster.errors import not_acceptable
from devcluster.http.messages import JSON, Request
from devcluster.kinds import Kind
from devcluster.objects import Object, metadata_of
from devcluster.tables import IncludeObject, build_table, partial_metadata

Form = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]

_FORMS = get_args(Form)
_READABLE = (JSON, "*/*", "application/*", "application/vnd.kubernetes.protobuf")


@dataclass(frozen=True)
class Representation:
    """The form of every object in a response."""

    form: Form
    include: IncludeObject = "Metadata"  # the object in each row of a table

    def shape_object(self, kind: Kind, obj: Object) -> Object:
        """Return one object in this form."""
        if self.form == "Table":
            return build_table(kind, [obj], {"resourceVersion": metadata_of(obj)["resourceVersion"]}, self.include)
        return partial_metadata(obj) if self.form == "PartialObjectMetadata" else obj

    def shape_list(self, kind: Kind, objects: Sequence[Object], metadata: Object) -> Object:
        """Return a list in this form. As in the API server, the items of a plain list have no kind."""
        if self.form == "Table":
            return build_table(kind, objects, metadata, self.include)
        if self.form:
            items = [partial_metadata(obj) for obj in objects]
            return {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items,
            }
        return {
            "kind": f"{kind.kind}List",
            "apiVersion": kind.api_version,
            "metadata": metadata,
            "items": [_without_type(obj) for obj in objects],
        }

    def shape_event(self, kind: Kind, obj: Object, *, first: bool) -> Object:
        """Return the object of a watch event; only the first table defines the columns."""
        if self.form == "Table":
            version = {"resourceVersion": metadata_of(obj)["resourceVersion"]}
            return build_table(kind, [obj], version, self.include, with_columns=first)
        return partial_metadata(obj) if self.form == "PartialObjectMetadata" else obj


def _without_type(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}


def choose_representation(request: Request) -> Representation:
    """Parse the Accept header and `includeObject`.

    Raises:
        ApiError: 406, the server supports none of the accepted media types.
    """
    include: Any = request.query.get("includeObject") or "Metadata"
    accepted = request.headers.get("Accept") or JSON
    for clause in accepted.split(","):
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(part.partition("=")[::2] for part in parameters)
        form = values.get("as", "")
        known = form in _FORMS and values.get("g", "meta.k8s.io") == "meta.k8s.io" and values.get("v", "v1") == "v1"
        if media_type in _READABLE and known:
            return Representation(form, include if include in get_args(IncludeObject) else "Metadata")  # type: ignore[arg-type]  # checked against _FORMS
    raise not_acceptable([JSON])
