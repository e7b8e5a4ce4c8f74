"""Rules and defaults for Deployments and StatefulSets: `k8s.io/kubernetes/pkg/apis/apps`."""

from devcluster.errors import Cause
from devcluster.objects import Object
from devcluster.selectors import label_selector_matches
from devcluster.validation.fields import (
    check_not_negative,
    check_unchanged,
    forbidden,
    invalid,
    not_supported,
    required,
)
from devcluster.validation.metadata import check_label_selector
from devcluster.validation.podspecs import check_template, default_template

_COUNTS = ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
_STATUS_COUNTS = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
                  "unavailableReplicas", "currentReplicas", "collisionCount")  # fmt: skip
_STATEFUL_SET_MUTABLE = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
                         "persistentVolumeClaimRetentionPolicy", "minReadySeconds")  # fmt: skip
# A change of one of these is an error of its own; a change of any other immutable field is the error below.
_STATEFUL_SET_FIXED = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
_STATEFUL_SET_IMMUTABLE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def default_deployment(deployment: Object) -> None:
    """Fill in a Deployment's defaults, in place."""
    spec = deployment.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    default_template(spec.setdefault("template", {}))


def default_stateful_set(stateful_set: Object) -> None:
    """Fill in a StatefulSet's defaults, in place."""
    spec = stateful_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("serviceName", "")
    strategy = spec.setdefault("updateStrategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("partition", 0)
        rolling.setdefault("maxUnavailable", 1)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    default_template(spec.setdefault("template", {}))


def begin_stateful_set(stateful_set: Object) -> None:
    """Give a new StatefulSet its first status, in place; these two counts are present even when they are 0."""
    stateful_set["status"] = {"replicas": 0, "availableReplicas": 0}


def check_deployment(deployment: Object) -> list[Cause]:
    """Check a new or changed Deployment."""
    spec = deployment["spec"]
    causes = _check_replicated(spec, "deployment")
    if spec["strategy"]["type"] not in ("Recreate", "RollingUpdate"):
        causes.append(not_supported("spec.strategy", spec["strategy"], ("Recreate", "RollingUpdate")))
    if spec["progressDeadlineSeconds"] <= spec.get("minReadySeconds", 0):
        detail = "must be greater than minReadySeconds"
        causes.append(invalid("spec.progressDeadlineSeconds", spec["progressDeadlineSeconds"], detail))
    return causes


def check_stateful_set(stateful_set: Object) -> list[Cause]:
    """Check a new or changed StatefulSet."""
    spec = stateful_set["spec"]
    causes = _check_replicated(spec, "statefulset")
    if spec["podManagementPolicy"] not in ("OrderedReady", "Parallel"):
        detail = "must be 'OrderedReady' or 'Parallel'"
        causes.append(invalid("spec.podManagementPolicy", spec["podManagementPolicy"], detail))
    return causes


def _check_replicated(spec: Object, name: str) -> list[Cause]:
    causes = [cause for field in _COUNTS for cause in check_not_negative(f"spec.{field}", spec.get(field))]
    selector, template = spec.get("selector"), spec["template"]
    labels = (template.get("metadata") or {}).get("labels")
    errors = [required("spec.selector")] if selector is None else check_label_selector(selector, "spec.selector")
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        causes.append(invalid("spec.selector", selector, f"empty selector is invalid for {name}"))
    elif (selector is None or not errors) and not label_selector_matches(selector, labels or {}):
        detail = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", labels, detail))
    causes += errors
    causes += check_template(template, "spec.template")
    policy = template["spec"]["restartPolicy"]
    if policy != "Always":
        causes.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    return causes


def check_deployment_update(new: Object, old: Object) -> list[Cause]:
    """Check a Deployment's new spec: its selector is immutable."""
    selector, old_selector = new["spec"].get("selector"), old["spec"].get("selector")
    return [*check_deployment(new), *check_unchanged("spec.selector", selector, old_selector)]


def check_stateful_set_update(new: Object, old: Object) -> list[Cause]:
    """Check a StatefulSet's new spec: most of it is immutable."""
    spec, old_spec = new["spec"], old["spec"]
    causes = check_stateful_set(new)
    for field in _STATEFUL_SET_FIXED:
        causes += check_unchanged(f"spec.{field}", spec.get(field), old_spec.get(field))
    others = (spec.keys() | old_spec.keys()) - {*_STATEFUL_SET_MUTABLE, *_STATEFUL_SET_FIXED}
    if any(spec.get(field) != old_spec.get(field) for field in others):
        causes.append(forbidden("spec", _STATEFUL_SET_IMMUTABLE))
    return causes


def check_workload_status(new: Object, _old: Object) -> list[Cause]:
    """Check the status of either kind: no count is negative or exceeds the replicas."""
    status = new.get("status", {})
    causes = [cause for field in _STATUS_COUNTS for cause in check_not_negative(f"status.{field}", status.get(field))]
    replicas, ready = status.get("replicas", 0), status.get("readyReplicas", 0)
    causes += [
        invalid(f"status.{field}", status[field], "cannot be greater than status.replicas")
        for field in ("updatedReplicas", "readyReplicas", "availableReplicas")
        if status.get(field, 0) > replicas
    ]
    if status.get("availableReplicas", 0) > ready:
        detail = "cannot be greater than readyReplicas"
        causes.append(invalid("status.availableReplicas", status["availableReplicas"], detail))
    return causes
