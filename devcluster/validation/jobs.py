"""Rules and defaults for Jobs: `k8s.io/kubernetes/pkg/apis/batch` and its registry strategy in Kubernetes 1.37.

See https://kubernetes.io/docs/concepts/workloads/controllers/job/.
"""

from devcluster.errors import Cause
from devcluster.objects import Object, clone, metadata_of
from devcluster.selectors import label_selector_matches
from devcluster.validation.fields import (
    check_not_negative,
    check_unchanged,
    invalid,
    not_supported,
    required,
    too_long,
)
from devcluster.validation.job_status import has_condition
from devcluster.validation.metadata import check_label_selector
from devcluster.validation.names import dns_label_errors
from devcluster.validation.podspecs import check_template, default_template

_BACKOFF_LIMIT = 6
_INT32_MAX = 2**31 - 1
_MAX_INDEXED_PARALLELISM = 100_000
_MANAGED_BY_MAX = 63
_COMPLETION_MODES = ("NonIndexed", "Indexed")
_COUNTS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
           "backoffLimitPerIndex", "maxFailedIndexes")  # fmt: skip
_FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_CONTROLLER_UID, _LEGACY_CONTROLLER_UID = "batch.kubernetes.io/controller-uid", "controller-uid"
_JOB_NAME, _LEGACY_JOB_NAME = "batch.kubernetes.io/job-name", "job-name"


def default_job(job: Object) -> None:
    """Fill in a Job's defaults, in place."""
    spec = job.setdefault("spec", {})
    template = spec.setdefault("template", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _INT32_MAX if "backoffLimitPerIndex" in spec else _BACKOFF_LIMIT)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    default_labels(job)
    default_template(template)


def default_labels(job: Object) -> None:
    """Give a Job without labels those of its pod template, in place."""
    labels = (job["spec"]["template"].get("metadata") or {}).get("labels")
    if labels and not metadata_of(job).get("labels"):
        # Share the dict, so that labels generated for the pods become the Job's as well, as on a real server.
        job["metadata"]["labels"] = labels


def generate_selector(job: Object) -> None:
    """Generate a new Job's selector and the matching pod labels, in place; not with `manualSelector`."""
    spec, metadata = job["spec"], metadata_of(job)
    if spec["manualSelector"]:
        return
    name, uid = metadata.get("name", ""), metadata["uid"]
    template = spec["template"].setdefault("metadata", {})
    labels = template.setdefault("labels", {})
    # A label set by the user is kept; validation refuses it if it differs.
    for key in (_LEGACY_JOB_NAME, _JOB_NAME):
        labels.setdefault(key, name)
    for key in (_LEGACY_CONTROLLER_UID, _CONTROLLER_UID):
        labels.setdefault(key, uid)
    spec.setdefault("selector", {}).setdefault("matchLabels", {}).setdefault(_CONTROLLER_UID, uid)


def check_job(job: Object) -> list[Cause]:
    """Check a new Job, with its defaults filled in."""
    return [*_check_generated_selector(job), *_check_spec(job["spec"]), *_check_index_names(job)]


def check_job_update(new: Object, old: Object) -> list[Cause]:
    """Check a Job's new spec against the stored one."""
    spec, old_spec = new["spec"], old["spec"]
    causes = [*_check_spec(spec), *_check_completions(spec, old_spec)]
    causes += check_unchanged("spec.selector", spec.get("selector"), old_spec.get("selector"))
    causes += _check_template_update(new, old)
    for field in _FIXED:
        causes += check_unchanged(f"spec.{field}", spec.get(field), old_spec.get(field))
    return causes + _check_index_names(new)


def check_job_template(template: Object, path: str) -> list[Cause]:
    """Check the `jobTemplate` of a CronJob. Its Jobs' defaults are not filled in."""
    spec = template.get("spec") or {}
    causes = _check_runs(spec, f"{path}.spec")
    if spec.get("selector") is not None:
        causes.append(invalid(f"{path}.spec.selector", spec["selector"], "`selector` will be auto-generated"))
    if spec.get("manualSelector"):
        causes.append(not_supported(f"{path}.spec.manualSelector", True, ("nil", "false")))
    return causes


def _check_generated_selector(job: Object) -> list[Cause]:
    spec, metadata = job["spec"], metadata_of(job)
    if spec["manualSelector"] or "selector" not in spec:
        return []
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    expected = {
        _LEGACY_CONTROLLER_UID: metadata["uid"],
        _LEGACY_JOB_NAME: metadata.get("name", ""),
        _CONTROLLER_UID: metadata["uid"],
        _JOB_NAME: metadata.get("name", ""),
    }
    causes = [
        invalid(f"spec.template.metadata.labels[{key}]", labels, f"must be '{value}'")
        for key, value in expected.items()
        if labels.get(key) != value
    ]
    if not label_selector_matches(spec["selector"], expected):
        causes.append(invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))
    return causes


def _check_runs(spec: Object, path: str) -> list[Cause]:
    """Check what the spec at a path says about the runs, not about its selector."""
    causes = [cause for field in _COUNTS for cause in check_not_negative(f"{path}.{field}", spec.get(field))]
    causes += _check_managed_by(spec, path)
    causes += _check_completion_mode(spec, path)
    causes += check_template(spec["template"], f"{path}.template")
    return causes + _check_restart_policy(spec, path)


def _check_spec(spec: Object) -> list[Cause]:
    causes = _check_runs(spec, "spec")
    selector, labels = spec.get("selector"), (spec["template"].get("metadata") or {}).get("labels")
    selector_causes = (
        [required("spec.selector")] if selector is None else check_label_selector(selector, "spec.selector")
    )
    if (selector is None or not selector_causes) and not label_selector_matches(selector, labels or {}):
        detail = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", labels, detail))
    return causes + selector_causes


def _check_managed_by(spec: Object, path: str) -> list[Cause]:
    value = spec.get("managedBy")
    if value is None:
        return []
    prefix, _, name = value.partition("/")
    causes = []
    if not prefix or not name:
        detail = 'must be a domain-prefixed path (such as "acme.io/foo")'
        causes.append(invalid(f"{path}.managedBy", value, detail) if value else required(f"{path}.managedBy"))
    if len(value) > _MANAGED_BY_MAX:
        causes.append(too_long(f"{path}.managedBy", _MANAGED_BY_MAX))
    return causes


def _check_completion_mode(spec: Object, path: str) -> list[Cause]:
    mode, causes = spec.get("completionMode", "NonIndexed"), []
    if mode not in _COMPLETION_MODES:
        causes.append(not_supported(f"{path}.completionMode", mode, _COMPLETION_MODES))
    if mode == "Indexed":
        if "completions" not in spec:
            causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
        if spec.get("parallelism", 1) > _MAX_INDEXED_PARALLELISM:
            detail = f"must be less than or equal to {_MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
            causes.append(invalid(f"{path}.parallelism", spec["parallelism"], detail))
    else:
        causes += [
            invalid(f"{path}.{field}", spec[field], "requires indexed completion mode")
            for field in ("backoffLimitPerIndex", "maxFailedIndexes", "successPolicy")
            if field in spec
        ]
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        causes.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    policy = spec.get("podReplacementPolicy", "Failed")
    if "podFailurePolicy" in spec and policy != "Failed":
        causes.append(not_supported(f"{path}.podReplacementPolicy", policy, ("Failed",)))
    elif policy not in ("Failed", "TerminatingOrFailed"):
        causes.append(not_supported(f"{path}.podReplacementPolicy", policy, ("Failed", "TerminatingOrFailed")))
    return causes


def _check_restart_policy(spec: Object, path: str) -> list[Cause]:
    field, policy = f"{path}.template.spec.restartPolicy", spec["template"]["spec"]["restartPolicy"]
    if policy in ("Always", ""):
        return [required(field, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [not_supported(field, policy, ("OnFailure", "Never"))]
    if "podFailurePolicy" in spec and policy != "Never":
        return [invalid(field, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


def _check_index_names(job: Object) -> list[Cause]:
    spec, name = job["spec"], metadata_of(job).get("name", "")
    if spec["completionMode"] != "Indexed" or not spec.get("completions"):
        return []
    hostname = f"{name}-{spec['completions'] - 1}"
    if not dns_label_errors(hostname):
        return []
    return [invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {hostname}")]


def _check_completions(spec: Object, old: Object) -> list[Cause]:
    new_count, old_count = spec.get("completions"), old.get("completions")
    if spec["completionMode"] != "Indexed":
        return check_unchanged("spec.completions", new_count, old_count)
    if new_count in (None, old_count) or new_count == spec["parallelism"]:
        return []
    return [invalid("spec.completions", new_count, "can only be modified in tandem with spec.parallelism")]


def _check_template_update(new: Object, old: Object) -> list[Cause]:
    """Check that a Job's pod template has not changed.

    A suspended Job without pods may change its scheduling directives and resources; see
    https://kubernetes.io/docs/concepts/workloads/controllers/job/#mutable-scheduling-directives.
    """
    template, old_template, status = new["spec"]["template"], old["spec"]["template"], old.get("status", {})
    idle = (not status.get("startTime") or has_condition(old, "Suspended")) and not status.get("active")
    if not old["spec"]["suspend"] or not idle:
        return check_unchanged("spec.template", template, old_template)
    spec, allowed = template["spec"], clone(old_template["spec"])
    for field in ("nodeSelector", "tolerations", "schedulingGates"):
        _copy_field(allowed, spec, field)
    affinity = {**(allowed.get("affinity") or {})}
    _copy_field(affinity, spec.get("affinity") or {}, "nodeAffinity")
    allowed.pop("affinity", None)
    if affinity or "affinity" in spec:
        allowed["affinity"] = affinity
    for field in ("containers", "initContainers"):
        mine, theirs = allowed.get(field) or [], spec.get(field) or []
        if [one["name"] for one in mine] == [one.get("name") for one in theirs]:
            for container, other in zip(mine, theirs, strict=True):
                container["resources"] = other["resources"]
    return check_unchanged("spec.template.spec", spec, allowed)


def _copy_field(target: Object, source: Object, field: str) -> None:
    target.pop(field, None)
    if field in source:
        target[field] = source[field]
