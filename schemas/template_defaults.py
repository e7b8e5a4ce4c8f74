"""What the service adds to a template where the template says nothing: the defaults of every definition."""

from typing import Any


def complete(job: dict[str, Any], index: int, account: str | None) -> None:
    """Add the defaults to a template, in place. A value that stands there is kept, whatever it is.

    Args:
        job: the template.
        index: the position of the run's container.
        account: the ServiceAccount that the definition names, whose token its runs then get; `None`: it names none.
    """
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][index]
    if account is not None:
        pod["serviceAccountName"] = account
    pod.setdefault("automountServiceAccountToken", account is not None)
    # Kubernetes' variables of every Service could be named SLIMFAAS_JOB_*, and make the environment too large.
    pod.setdefault("enableServiceLinks", False)
    container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    if (pod.get("os") or {}).get("name") != "windows":  # the API server refuses the two settings for Windows
        pod["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}, **(pod.get("securityContext") or {})}
        _forbid_escalation(container)


def _forbid_escalation(container: dict[str, Any]) -> None:
    """Forbid privilege escalation, unless the container has rights that the API server refuses to combine with that."""
    context = container.get("securityContext") or {}
    # Of any other form the API server refuses the template itself.
    capabilities = context.get("capabilities")
    added = capabilities.get("add") if isinstance(capabilities, dict) else None
    if not context.get("privileged") and not {"SYS_ADMIN", "CAP_SYS_ADMIN"} & set(map(str, added or ())):
        container["securityContext"] = {"allowPrivilegeEscalation": False, **context}
