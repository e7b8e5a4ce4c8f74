"""Rules for the metadata of every object: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from devcluster.deletion import FOREGROUND_FINALIZER, ORPHAN_FINALIZER
from devcluster.errors import Cause
from devcluster.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, EVENT, NAMESPACE, ROLE, ROLE_BINDING, SERVICE, Kind
from devcluster.objects import Object, metadata_of
from devcluster.validation.fields import check_all, check_unchanged, forbidden, invalid, required, too_long
from devcluster.validation.names import (
    dns_label_errors,
    dns_subdomain_errors,
    label_key_errors,
    label_value_errors,
    path_segment_errors,
)

_ANNOTATIONS_MAX_BYTES = 256 * 1024
_STANDARD_FINALIZERS = ("kubernetes", ORPHAN_FINALIZER, FOREGROUND_FINALIZER)
_FIXED = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")

# Until Kubernetes 1.34, a Service's name was a DNS-1035 label. The names of Events and of RBAC's kinds
# need only be path segments.
_NAME_RULES: dict[Kind, Callable[[str], list[str]]] = {
    NAMESPACE: dns_label_errors,
    SERVICE: dns_label_errors,
    EVENT: path_segment_errors,
    **dict.fromkeys((ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING), path_segment_errors),
}


def check_metadata(kind: Kind, obj: Object) -> list[Cause]:
    """Check the metadata of a new object."""
    metadata, name_errors = metadata_of(obj), _NAME_RULES.get(kind, dns_subdomain_errors)
    causes: list[Cause] = []
    prefix, name = metadata.get("generateName", ""), metadata.get("name", "")
    if prefix:
        # The name continues after the prefix, so a trailing dash of the prefix is allowed.
        masked = prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
        causes += check_all("metadata.generateName", prefix, name_errors(masked))
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    else:
        causes += check_all("metadata.name", name, name_errors(name))
    if kind.namespaced:
        namespace = metadata.get("namespace", "")
        causes += check_all("metadata.namespace", namespace, dns_label_errors(namespace))
    elif metadata.get("namespace"):
        causes.append(forbidden("metadata.namespace", "not allowed on this type"))
    return causes + _check_common(metadata)


def check_metadata_update(new_obj: Object, old_obj: Object) -> list[Cause]:
    """Check the metadata of an object's new state against the stored one."""
    new, old = metadata_of(new_obj), metadata_of(old_obj)
    causes: list[Cause] = []
    if old.get("deletionTimestamp"):
        added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            shown = ", ".join(f'"{name}"' for name in added)
            message = "no new finalizers can be added if the object is being deleted, found new finalizers "
            causes.append(forbidden("metadata.finalizers", f"{message}[]string{{{shown}}}"))
    for field in _FIXED:
        causes += check_unchanged(f"metadata.{field}", new.get(field), old.get(field))
    return causes + _check_common(new)


def check_labels(labels: Mapping[str, str] | None, path: str) -> list[Cause]:
    """Check the keys and values of labels."""
    causes = []
    for key, value in (labels or {}).items():
        causes += check_all(path, key, label_key_errors(key))
        causes += check_all(path, value, label_value_errors(value))
    return causes


def check_annotations(annotations: Mapping[str, str] | None, path: str) -> list[Cause]:
    """Check the keys of annotations, and their total size."""
    causes: list[Cause] = []
    for key in annotations or ():
        causes += check_all(path, key, label_key_errors(key.lower()))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in (annotations or {}).items())
    if size > _ANNOTATIONS_MAX_BYTES:
        causes.append(too_long(path, _ANNOTATIONS_MAX_BYTES))
    return causes


def check_label_selector(selector: Mapping[str, Any], path: str) -> list[Cause]:
    """Check a `metav1.LabelSelector`."""
    causes = check_labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, term in enumerate(selector.get("matchExpressions") or ()):
        place, values = f"{path}.matchExpressions[{index}]", term.get("values") or ()
        match term.get("operator"):
            case "In" | "NotIn":
                if not values:
                    detail = "must be specified when `operator` is 'In' or 'NotIn'"
                    causes.append(required(f"{place}.values", detail))
            case "Exists" | "DoesNotExist":
                if values:
                    detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    causes.append(forbidden(f"{place}.values", detail))
            case other:
                causes.append(invalid(f"{place}.operator", other or "", "not a valid selector operator"))
        causes += check_all(f"{place}.key", term.get("key", ""), label_key_errors(term.get("key", "")))
        for number, value in enumerate(values):
            causes += check_all(f"{place}.values[{number}]", value, label_value_errors(value))
    return causes


def _check_common(metadata: Object) -> list[Cause]:
    return [
        *check_labels(metadata.get("labels"), "metadata.labels"),
        *check_annotations(metadata.get("annotations"), "metadata.annotations"),
        *_check_owners(metadata.get("ownerReferences") or ()),
        *_check_finalizers(metadata.get("finalizers") or ()),
    ]


def _check_owners(owners: Sequence[Object]) -> list[Cause]:
    path, causes, controller = "metadata.ownerReferences", [], ""
    for index, owner in enumerate(owners):
        place = f"{path}[{index}]"
        causes += [
            required(f"{place}.{field}", "must not be empty")
            for field in ("apiVersion", "kind", "name", "uid")
            if not owner.get(field)
        ]
        if (owner.get("apiVersion"), owner.get("kind")) == ("v1", "Event"):
            causes.append(invalid(place, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.get("controller"):
            current = f"{owner.get('kind')}/{owner.get('name')}"
            if controller:
                detail = 'Only one reference can have Controller set to true. Found "true" in references for '
                causes.append(invalid(path, list(owners), f"{detail}{controller} and {current}"))
            controller = controller or current
    return causes


def _check_finalizers(finalizers: Sequence[str]) -> list[Cause]:
    causes = []
    for index, finalizer in enumerate(finalizers):
        causes += check_all("metadata.finalizers", finalizer, label_key_errors(finalizer))
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(invalid(f"metadata.finalizers[{index}]", finalizer, detail))
    if ORPHAN_FINALIZER in finalizers and FOREGROUND_FINALIZER in finalizers:
        detail = f"finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set"
        causes.append(invalid("metadata.finalizers", list(finalizers), detail))
    return causes
