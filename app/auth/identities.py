"""Looks callers up in the cluster: the pod at an address, the ServiceAccount of a token."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.auth.addresses import Address, read_address
from app.auth.tokens import Account, InvalidTokenError, read_token_review
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.single_flight_cache import SingleFlightCache
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, InvalidError

_POD_SECONDS = 2.0
"""How long a pod look-up is cached: soon after a pod has ended, another pod may have its address."""

_TOKEN_SECONDS = 10.0
"""How long the result of a TokenReview is cached, whether the token is valid or not."""


class UndecidedError(ClusterError):
    """The API server could not be asked who the caller is. The request is refused; nothing has been done."""

    detail = "the Kubernetes API server could not identify the caller; nothing has been done"


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """The pod at an address.

    Attributes:
        name: the pod's name; if several pods have the address, the name of one of them; empty if there is no pod.
        trusted: whether a request from the address comes from a trusted pod.
    """

    name: str = ""
    trusted: bool = False


def identify_pod(pods: Sequence[Mapping[str, Any]], address: Address) -> PodIdentity:
    """Return which of the pods has the address, and whether requests from it are trusted.

    A trusted pod is running, is not being deleted, and has the address for itself: a pod on the host network shares
    its address with every other process of the node. If several running pods have the address, all of them must be
    trusted, because any of them may have sent the request.
    """
    at_address = [pod for pod in pods if _has_address(pod, address)]
    untrusted = [pod for pod in at_address if not _may_be_trusted(pod)]
    trusted = [pod for pod in at_address if not untrusted and not pod["metadata"].get("deletionTimestamp")]
    for pod in (*untrusted, *trusted, *at_address):
        return PodIdentity(str(pod["metadata"]["name"]), trusted=bool(trusted))
    return PodIdentity()


def _has_address(pod: Mapping[str, Any], address: Address) -> bool:
    status = pod.get("status") or {}
    addresses = [read_address(entry.get("ip")) for entry in status.get("podIPs") or ()]
    return status.get("phase") == "Running" and address in addresses


def _may_be_trusted(pod: Mapping[str, Any]) -> bool:
    trust = (pod["metadata"].get("annotations") or {}).get(labels.DEFAULT_TRUST_ANNOTATION, labels.TRUSTED)
    return trust == labels.TRUSTED and not (pod.get("spec") or {}).get("hostNetwork")


class Identities:
    """Looks identities up in the cluster and caches them for a few seconds. Safe to share between threads.

    Args:
        client: reads the pods of the namespace and reviews tokens.
        audience: the audience that tokens must be issued for.
        limiter: limits how many requests wait for a look-up.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        client: NamespacedClient,
        audience: str,
        limiter: ConcurrencyLimiter,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._audience = audience
        self._pods: SingleFlightCache[PodIdentity] = SingleFlightCache(
            limiter, seconds=_POD_SECONDS, kind="pod", clock=clock
        )
        self._accounts: SingleFlightCache[Account | InvalidTokenError | None] = SingleFlightCache(
            limiter, seconds=_TOKEN_SECONDS, kind="token", clock=clock
        )

    def find_pod(self, address: Address) -> PodIdentity:
        """Find the pod of the namespace that has the address; the result is at most two seconds old.

        Raises:
            UndecidedError: the API server could not be asked.
            BusyError: too many requests wait for the API server.
        """
        return self._pods.get(address, lambda: self._list_pods(address))

    def find_account(self, token: str) -> Account | None:
        """Find the ServiceAccount of a token; the result is at most ten seconds old.

        Returns:
            The ServiceAccount; `None` if the token belongs to another kind of user.

        Raises:
            InvalidTokenError: the API server does not accept the token.
            UndecidedError: the API server could not be asked.
            BusyError: too many requests wait for the API server.
        """
        # The cache keeps a digest, so that no token stays in memory.
        found = self._accounts.get(hashlib.sha256(token.encode()).digest(), lambda: self._review(token))
        if isinstance(found, InvalidTokenError):
            raise InvalidTokenError(*found.args)
        return found

    def _list_pods(self, address: Address) -> PodIdentity:
        try:
            return identify_pod(self._client.running_pods_at(str(address)), address)
        except ClusterError as error:
            raise _undecided(error) from error

    def _review(self, token: str) -> Account | InvalidTokenError | None:
        try:
            status = self._client.review_token(token, self._audience)
        except ClusterError as error:
            raise _undecided(error) from None  # the API server's message may quote the token
        try:
            return read_token_review(status, self._audience)
        except InvalidTokenError as error:
            return error


def _undecided(error: ClusterError) -> UndecidedError:
    # The message of a 422 may quote the request, and so the token.
    return UndecidedError(
        "the API server refused the look-up as invalid" if isinstance(error, InvalidError) else error.message
    )
