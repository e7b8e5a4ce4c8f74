"""Rules and defaults for pod templates and pod specs.

Follows `k8s.io/kubernetes/pkg/apis/core` (validation and v1/defaults.go), for the fields that a Job, a Deployment or a
pod of the embedded cluster can use. Fields that only matter to a real node (details of probes, affinity) are stored
unchecked.
"""

from collections.abc import Sequence

from devcluster.errors import Cause
from devcluster.objects import Object
from devcluster.validation.environment import (
    check_environment,
    check_environment_sources,
    check_host_ports,
    check_ports,
)
from devcluster.validation.fields import check_all, duplicate, forbidden, invalid, not_found, not_supported, required
from devcluster.validation.metadata import check_annotations, check_labels
from devcluster.validation.names import dns_label_errors, dns_subdomain_errors, label_key_errors, label_value_errors
from devcluster.validation.resources import check_resources
from devcluster.validation.security import check_container_security, check_pod_security

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_RESTART_ACTIONS = ("Restart", "RestartAllContainers")
_RESTART_OPERATORS = ("In", "NotIn")
_SIDECAR_FIELDS = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
_SIDECARS_ONLY = "may not be set for init containers without restartPolicy=Always"
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_MESSAGE_DEFAULTS = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_CONTAINER_LISTS = ("containers", "initContainers")
_INT32_MAX = 2**31 - 1
_DEFAULT_MODE = 0o644
_SECONDS_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def default_template(template: Object) -> None:
    """Fill in a pod template's defaults, in place."""
    default_spec(template.setdefault("spec", {}))


def default_spec(spec: Object) -> None:
    """Fill in a pod spec's defaults, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    for field in ("serviceAccountName", "serviceAccount"):  # two names of one field; an empty one is removed
        spec.pop(field, None)
        if account:
            spec[field] = account
    if not spec.get("initContainers"):
        spec.pop("initContainers", None)
    for name in _CONTAINER_LISTS:
        for container in spec.get(name) or ():
            _default_container(container)
            for port in container.get("ports") or () if spec.get("hostNetwork") else ():
                port["hostPort"] = port.get("hostPort") or port.get("containerPort", 0)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _default_container(container: Object) -> None:
    container.setdefault("resources", {})
    for field, value in _MESSAGE_DEFAULTS.items():
        container[field] = container.get(field) or value
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = "Always" if _is_latest(container.get("image", "")) else "IfNotPresent"
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        if "fieldRef" in variable.get("valueFrom", {}):
            variable["valueFrom"]["fieldRef"].setdefault("apiVersion", "v1")
        if "resourceFieldRef" in variable.get("valueFrom", {}):
            variable["valueFrom"]["resourceFieldRef"].setdefault("divisor", "0")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _default_probe(container[name])


def _default_probe(probe: Object) -> None:
    for key, value in _SECONDS_DEFAULTS.items():
        probe[key] = probe.get(key) or value
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def _is_latest(image: str) -> bool:
    if "@" in image:
        return False
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return not colon or tag == "latest"


def _default_volume(volume: Object) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for name in ("configMap", "secret", "downwardAPI", "projected"):
        if name in volume:
            volume[name].setdefault("defaultMode", _DEFAULT_MODE)


def check_template(template: Object, path: str) -> list[Cause]:
    """Check a pod template."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    causes = [
        *check_labels(metadata.get("labels"), f"{path}.labels"),
        *check_annotations(metadata.get("annotations"), f"{path}.annotations"),
        *check_spec(spec, f"{path}.spec"),
    ]
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        causes.append(forbidden(f"{path}.spec.ephemeralContainers", detail))
    return causes


def check_spec(spec: Object, path: str) -> list[Cause]:
    """Check a pod's spec, with its defaults filled in."""
    volumes, causes = _check_volumes(spec.get("volumes") or (), f"{path}.volumes")
    causes += _check_containers(spec, volumes, path)
    for field, value, supported in (
        ("restartPolicy", spec["restartPolicy"], _RESTART_POLICIES),
        ("dnsPolicy", spec["dnsPolicy"], _DNS_POLICIES),
    ):
        if value not in supported:
            causes.append(not_supported(f"{path}.{field}", value, supported))
    causes += check_labels(spec.get("nodeSelector"), f"{path}.nodeSelector")
    for field in ("serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"):
        if spec.get(field):
            causes += check_all(f"{path}.{field}", spec[field], dns_subdomain_errors(spec[field]))
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            causes += check_all(f"{path}.{field}", spec[field], dns_label_errors(spec[field]))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _INT32_MAX:
        detail = f"must be between 1 and {_INT32_MAX}, inclusive"
        causes.append(invalid(f"{path}.activeDeadlineSeconds", deadline, detail))
    causes += check_pod_security(spec, path)
    causes += _check_tolerations(spec.get("tolerations") or (), f"{path}.tolerations")
    return causes


def _check_containers(spec: Object, volumes: set[str], path: str) -> list[Cause]:
    if not spec.get("containers"):
        return [required(f"{path}.containers")]
    causes: list[Cause] = []
    names: set[str] = set()
    for field in _CONTAINER_LISTS:
        for index, container in enumerate(spec.get(field) or ()):
            place, name = f"{path}.{field}[{index}]", container.get("name", "")
            causes += _check_container(container, volumes, place)
            causes += _check_restarts(container, place)
            if field == "initContainers" and container.get("restartPolicy") != "Always":
                causes += [forbidden(f"{place}.{one}", _SIDECARS_ONLY) for one in _SIDECAR_FIELDS if one in container]
            causes += check_container_security(
                container.get("securityContext") or {},
                f"{place}.securityContext",
                own_users=spec.get("hostUsers") is False,
            )
            if spec.get("hostNetwork"):
                causes += check_host_ports(container.get("ports") or (), f"{place}.ports")
            if name in names:
                causes.append(duplicate(f"{place}.name", name))
            names.add(name)
    return causes


def _check_container(container: Object, volumes: set[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    name = container.get("name", "")
    causes += check_all(f"{path}.name", name, dns_label_errors(name)) if name else [required(f"{path}.name")]
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    for field, supported in (
        ("terminationMessagePolicy", _MESSAGE_POLICIES),
        ("imagePullPolicy", _PULL_POLICIES),
    ):
        if container[field] not in supported:
            causes.append(not_supported(f"{path}.{field}", container[field], supported))
    causes += check_ports(container.get("ports") or (), f"{path}.ports")
    causes += check_environment(container.get("env") or (), f"{path}.env")
    causes += check_environment_sources(container.get("envFrom") or (), f"{path}.envFrom")
    causes += _check_mounts(container.get("volumeMounts") or (), volumes, f"{path}.volumeMounts")
    return causes + check_resources(container["resources"], f"{path}.resources")


def _check_restarts(container: Object, path: str) -> list[Cause]:
    """Check a container's own restartPolicy, and the rules that precede it."""
    causes: list[Cause] = []
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is not None and policy not in _RESTART_POLICIES:
        causes.append(not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if policy is None and rules:
        causes.append(required(f"{path}.restartPolicy"))
    for index, rule in enumerate(rules if policy is not None else ()):
        place, codes = f"{path}.restartPolicyRules[{index}]", rule.get("exitCodes")
        if rule.get("action", "") not in _RESTART_ACTIONS:
            causes.append(not_supported(f"{place}.action", rule.get("action", ""), _RESTART_ACTIONS))
        if codes is None:
            causes.append(required(f"{place}.exitCodes"))
        elif codes.get("operator", "") not in _RESTART_OPERATORS:
            causes.append(not_supported(f"{place}.exitCodes.operator", codes.get("operator", ""), _RESTART_OPERATORS))
    return causes


def _check_volumes(volumes: Sequence[Object], path: str) -> tuple[set[str], list[Cause]]:
    """Return the names of the valid volumes, and the causes about the others."""
    names: set[str] = set()
    causes: list[Cause] = []
    for index, volume in enumerate(volumes):
        place, name = f"{path}[{index}]", volume.get("name", "")
        errors = check_all(f"{place}.name", name, dns_label_errors(name)) if name else [required(f"{place}.name")]
        if name in names:
            errors.append(duplicate(f"{place}.name", name))
        sources = sorted(set(volume) - {"name"})
        errors += [forbidden(f"{place}.{source}", "may not specify more than 1 volume type") for source in sources[1:]]
        if not errors:
            names.add(name)
        causes += errors
    return names, causes


def _check_mounts(mounts: Sequence[Object], volumes: set[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        place, name, target = f"{path}[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{place}.name"))
        if name not in volumes:
            causes.append(not_found(f"{place}.name", name))
        if not target:
            causes.append(required(f"{place}.mountPath"))
        if target in seen:
            causes.append(invalid(f"{place}.mountPath", target, "must be unique"))
        seen.add(target)
    return causes


def _check_tolerations(tolerations: Sequence[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, toleration in enumerate(tolerations):
        place = f"{path}[{index}]"
        key, value = toleration.get("key", ""), toleration.get("value", "")
        operator, effect = toleration.get("operator", ""), toleration.get("effect", "")
        if key:
            causes += check_all(f"{place}.key", key, label_key_errors(key))
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            causes.append(invalid(f"{place}.operator", operator, detail))
        if "tolerationSeconds" in toleration and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            causes.append(invalid(f"{place}.effect", effect, detail))
        if operator == "Exists" and value:
            causes.append(invalid(f"{place}.operator", value, "value must be empty when `operator` is 'Exists'"))
        elif operator in ("", "Equal"):
            causes += check_all(f"{place}.operator", value, label_value_errors(value))
        elif operator != "Exists":
            causes.append(not_supported(f"{place}.operator", operator, ("Equal", "Exists")))
        if effect and effect not in _EFFECTS:
            causes.append(not_supported(f"{place}.effect", effect, _EFFECTS))
    return causes
