"""What a Job's `podFailurePolicy` makes of a failed pod.

Follows `pkg/controller/job/pod_failure_policy.go` of Kubernetes 1.37; see
https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy. `FailIndex` needs Indexed Jobs, which
this cluster does not run.
"""

from collections.abc import Sequence

from devcluster.objects import Object


def is_counted(spec: Object, pod: Object) -> bool:
    """Return whether a failed pod counts towards the Job's `backoffLimit`."""
    rule = _find_rule(spec, pod)
    return rule is None or rule[1]["action"] != "Ignore"


def find_job_failure(spec: Object, failed: Sequence[Object]) -> str | None:
    """Return why the failed pods make the Job fail at once; `None`: they do not."""
    for pod in failed:
        rule = _find_rule(spec, pod)
        if rule is not None and rule[1]["action"] == "FailJob":
            return f"{rule[2]} matching FailJob rule at index {rule[0]}"
    return None


def _find_rule(spec: Object, pod: Object) -> tuple[int, Object, str] | None:
    """Return the first rule that a pod meets: its index, the rule, and how the pod meets it."""
    for index, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        met = _match_exit_codes(rule, pod) if "onExitCodes" in rule else _match_conditions(rule, pod)
        if met is not None:
            return index, rule, met
    return None


def _match_exit_codes(rule: Object, pod: Object) -> str | None:
    wanted, status = rule["onExitCodes"], pod.get("status") or {}
    for container in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
        if not code or wanted.get("containerName", container["name"]) != container["name"]:
            continue
        if (code in wanted["values"]) == (wanted["operator"] == "In"):
            return f"Container {container['name']} for pod {_name(pod)} failed with exit code {code}"
    return None


def _match_conditions(rule: Object, pod: Object) -> str | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        for wanted in rule.get("onPodConditions") or ():
            if condition["type"] == wanted["type"] and condition["status"] == wanted.get("status", "True"):
                return f"Pod {_name(pod)} has condition {condition['type']}"
    return None


def _name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
