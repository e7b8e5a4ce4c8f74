"""What Kubernetes does about ServiceAccounts by itself: every namespace has one, and every pod names one.

The work of kube-controller-manager's serviceaccount controller and of the ServiceAccount admission plugin; see
https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts.
Pods get no volume with a token.
"""

from collections.abc import Callable

from devcluster import errors
from devcluster.kinds import POD, SERVICE_ACCOUNT
from devcluster.objects import Object

DEFAULT_ACCOUNT = "default"


def default_account(namespace: str) -> Object:
    """The account of pods that name none."""
    return {
        "apiVersion": SERVICE_ACCOUNT.api_version,
        "kind": SERVICE_ACCOUNT.kind,
        "metadata": {"name": DEFAULT_ACCOUNT, "namespace": namespace},
    }


def give_account(pod: Object, shown: str, find: Callable[[str], Object]) -> None:
    """Let a new pod name an account, in place.

    Args:
        pod: The pod.
        shown: How errors name it; its name may not be made yet.
        find: Returns an account of its namespace, or raises ApiError: 404.

    Raises:
        ApiError: 403, there is no such account.
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
