"""Whether a container that has ended is restarted.

See https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy. The action `RestartAllContainers`
of a rule is not supported: it counts as no rule.
"""

from devcluster.objects import Object


def restarts_after(container: Object, exit_code: int, pod_policy: str) -> bool:
    """Return whether a container is restarted after this exit code.

    Args:
        container: its spec; its own rules and restartPolicy precede the pod's policy.
        exit_code: how it has ended.
        pod_policy: the pod's restartPolicy.
    """
    own = container.get("restartPolicy")
    if own and any(_matches(rule, exit_code) for rule in container.get("restartPolicyRules") or ()):
        return True
    policy = own or pod_policy
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _matches(rule: Object, exit_code: int) -> bool:
    codes = rule.get("exitCodes") or {}
    is_listed = exit_code in (codes.get("values") or ())
    return rule.get("action") == "Restart" and is_listed == (codes.get("operator") == "In")
