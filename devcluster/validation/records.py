"""Rules and defaults for kinds without pods: ConfigMaps, Secrets, Services, Namespaces, Leases and Events."""

import base64
import binascii

from devcluster.errors import Cause, bad_request
from devcluster.objects import Object, metadata_of
from devcluster.validation.environment import check_service_ports
from devcluster.validation.fields import (
    check_all,
    check_not_negative,
    check_unchanged,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from devcluster.validation.metadata import check_labels
from devcluster.validation.names import config_key_errors, label_key_errors

_DATA_MAX_BYTES = 1024 * 1024
_ILLEGAL_BASE64 = 'Secret in version "v1" cannot be handled as a Secret: illegal base64 data'
_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_EVENT_LIMITS = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}


def default_secret(secret: Object) -> None:
    """Fill in a Secret's type, and move its `stringData` into `data`, in place."""
    secret.setdefault("type", "Opaque")
    plain = secret.pop("stringData", None) or {}
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def default_binding(binding: Object) -> None:
    """Fill in the API groups of a RoleBinding's role and subjects, in place."""
    group = "rbac.authorization.k8s.io"
    binding["roleRef"].setdefault("apiGroup", group)
    for subject in binding.get("subjects") or ():
        if subject["kind"] in ("User", "Group"):
            subject.setdefault("apiGroup", group)


def default_namespace(namespace: Object) -> None:
    """Give a Namespace the label with its own name, in place."""
    labels = namespace["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = metadata_of(namespace).get("name", "")


def begin_namespace(namespace: Object) -> None:
    """Give a new Namespace its phase and the `kubernetes` finalizer, in place."""
    namespace["spec"] = {"finalizers": ["kubernetes"]}
    namespace["status"] = {"phase": "Active"}


def default_service(service: Object) -> None:
    """Fill in a Service's defaults, in place. It gets no address, because nothing routes traffic here."""
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("internalTrafficPolicy", "Cluster")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def begin_service(service: Object) -> None:
    """Give a new Service its empty status, in place."""
    service["status"] = {"loadBalancer": {}}


def default_event(event: Object) -> None:
    """Fill in an Event's defaults, in place."""
    event.setdefault("source", {})
    for field in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(field, None)
    for field in ("reportingComponent", "reportingInstance"):
        event.setdefault(field, "")


def default_lease(lease: Object) -> None:
    """Fill in a Lease's defaults, and remove fields of disabled features, in place."""
    spec = lease.setdefault("spec", {})
    for field in ("strategy", "preferredHolder"):  # CoordinatedLeaderElection
        spec.pop(field, None)


def check_config_map(config_map: Object) -> list[Cause]:
    """Check a ConfigMap's keys and size."""
    data, binary = config_map.get("data") or {}, config_map.get("binaryData") or {}
    causes = _check_keys(data, "data") + _check_keys(binary, "binaryData")
    causes += [invalid(f"data[{key}]", key, "duplicate of key present in binaryData") for key in data if key in binary]
    if sum(len(value.encode()) for value in (*data.values(), *binary.values())) > _DATA_MAX_BYTES:
        causes.append(too_long("[]", _DATA_MAX_BYTES))
    return causes


def check_secret(secret: Object) -> list[Cause]:
    """Check a Secret's keys and size.

    Raises:
        ApiError: 400, a value is not base64.
    """
    data = secret.get("data") or {}
    causes = _check_keys(data, "data")
    size = 0
    for value in data.values():
        try:
            size += len(base64.b64decode(value, validate=True))
        except binascii.Error:
            # The server decodes the values while it parses the body, so this error precedes all others.
            raise bad_request(_ILLEGAL_BASE64) from None
    if size > _DATA_MAX_BYTES:
        causes.append(too_long("data", _DATA_MAX_BYTES))
    return causes


def _check_keys(data: Object, path: str) -> list[Cause]:
    return [cause for key in data for cause in check_all(f"{path}[{key}]", key, config_key_errors(key))]


def check_immutable_data(new: Object, old: Object) -> list[Cause]:
    """Check that a ConfigMap or Secret declared immutable has not changed."""
    if not old.get("immutable"):
        return []
    detail = "field is immutable when `immutable` is set"
    causes = [] if new.get("immutable") else [forbidden("immutable", detail)]
    return causes + [forbidden(f, detail) for f in ("data", "binaryData") if new.get(f) != old.get(f)]


def check_secret_update(new: Object, old: Object) -> list[Cause]:
    """Check a Secret's new state: its type is immutable."""
    kept = check_unchanged("type", new.get("type"), old.get("type"))
    return [*check_secret(new), *kept, *check_immutable_data(new, old)]


def check_service(service: Object) -> list[Cause]:
    """Check a Service's type, selector and ports."""
    spec = service["spec"]
    ports = spec.get("ports") or ()
    causes = check_labels(spec.get("selector"), "spec.selector")
    if spec["type"] not in _SERVICE_TYPES:
        causes.append(not_supported("spec.type", spec["type"], _SERVICE_TYPES))
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    return causes + check_service_ports(ports, "spec.ports")


def check_lease(lease: Object) -> list[Cause]:
    """Check a new or changed Lease."""
    spec = lease.get("spec") or {}
    causes = []
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    causes += check_not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    return causes


def check_event(event: Object) -> list[Cause]:
    """Check an Event.

    Its object must be in its own namespace, and one with an `eventTime` must be complete.
    """
    about, namespace = event.get("involvedObject") or {}, metadata_of(event)["namespace"]
    own, cluster_wide = about.get("namespace", ""), namespace == "default"
    mismatch = invalid("involvedObject.namespace", own, "does not match event.namespace")
    if not event.get("eventTime"):
        return [] if own == namespace or (not own and cluster_wide) else [mismatch]
    causes = [] if own or cluster_wide or namespace == "kube-system" else [mismatch]
    component = event.get("reportingComponent") or ""
    if not component:
        causes.append(required("reportingComponent"))
    causes += check_all("reportingComponent", component, label_key_errors(component))
    for field, limit in _EVENT_LIMITS.items():
        value = event.get(field) or ""
        if not value and field != "message":
            causes.append(required(field))
        if len(value.encode()) > limit:
            causes.append(invalid(field, "", f"can have at most {limit} characters"))
    return causes
