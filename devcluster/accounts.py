"""Default ServiceAccounts: every namespace has one, and every pod names one.

This is the work of kube-controller-manager's serviceaccount controller and of the ServiceAccount admission plugin; see
https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts.
Pods get no token volume.
"""

from collections.abc import Callable

from devcluster import errors
from devcluster.kinds import POD, SERVICE_ACCOUNT
from devcluster.objects import Object

DEFAULT_ACCOUNT = "default"


def default_account(namespace: str) -> Object:
    """Return the ServiceAccount of pods that name none."""
    return {
        "apiVersion": SERVICE_ACCOUNT.api_version,
        "kind": SERVICE_ACCOUNT.kind,
        "metadata": {"name": DEFAULT_ACCOUNT, "namespace": namespace},
    }


def assign_account(pod: Object, shown: str, find: Callable[[str], Object]) -> None:
    """Set the ServiceAccount of a new pod, in place.

    Args:
        pod: The pod.
        shown: The pod's name in errors; the pod itself may not have a generated name yet.
        find: Returns a ServiceAccount of the pod's namespace, or raises ApiError: 404.

    Raises:
        ApiError: 403, the ServiceAccount does not exist.
    """
    spec, metadata = pod["spec"], pod["metadata"]
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = DEFAULT_ACCOUNT
    name = spec["serviceAccountName"]
    try:
        find(name)
    except errors.ApiError:
        message = f'error looking up service account {metadata["namespace"]}/{name}: serviceaccount "{name}" not found'
        raise errors.forbidden(POD, shown, message) from None
