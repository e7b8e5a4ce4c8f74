"""Looks callers up in the cluster: the pod at an address, the ServiceAccount of a token."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.auth.addresses import Address, read_address
from app.auth.token_cache import TokenCache
from app.auth.tokens import Account, read_token_review
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.single_flight_cache import SingleFlightCache
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, InvalidError

_POD_SECONDS = 2.0
"""How long a pod look-up is cached: soon after a pod has ended, another pod may have its address."""


class UndecidedError(ClusterError):
    """The API server could not identify the caller. The request is refused, and nothing has been done."""

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
    return (pod.get("status") or {}).get("phase") == "Running" and address in _addresses_of(pod)


def _addresses_of(pod: Mapping[str, Any]) -> list[Address | None]:
    """Return the addresses of a pod: one, or one of each IP family. `None` stands for one that cannot be read."""
    return [read_address(entry.get("ip")) for entry in (pod.get("status") or {}).get("podIPs") or ()]


def _shorten(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what `identify_pod` needs of a pod, so that not all of a namespace's pods are in memory."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    trust = (metadata.get("annotations") or {}).get(labels.DEFAULT_TRUST_ANNOTATION)
    return {
        "metadata": {
            "name": metadata["name"],
            "annotations": {} if trust is None else {labels.DEFAULT_TRUST_ANNOTATION: trust},
            "deletionTimestamp": metadata.get("deletionTimestamp"),
        },
        "spec": {"hostNetwork": spec.get("hostNetwork")},
        "status": {"phase": status.get("phase"), "podIPs": status.get("podIPs")},
    }


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
        self._second_addresses: SingleFlightCache[Mapping[Address, PodIdentity]] = SingleFlightCache(
            limiter, seconds=_POD_SECONDS, kind="pod", size=1, clock=clock
        )
        self._accounts: TokenCache[Account | None] = TokenCache(limiter, clock=clock)

    def find_pod(self, address: Address) -> PodIdentity:
        """Find the pod of the namespace that has the address; the result is at most two seconds old.

        Raises:
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        found = self._pods.get(address, lambda: self._list_pods(address))
        if found.name:
            return found
        return self._second_addresses.get("all", self._list_second_addresses).get(address, found)

    def find_account(self, token: str) -> Account | None:
        """Find the ServiceAccount of a token; the result is at most four seconds old.

        Returns:
            The ServiceAccount; `None` if the token belongs to another kind of user.

        Raises:
            InvalidTokenError: the API server does not accept the token.
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        return self._accounts.find(token, lambda: self._review(token))

    def _list_second_addresses(self) -> Mapping[Address, PodIdentity]:
        """Return the pods at each second address.

        The API server can't select by them, so all running pods are read, for all callers at once. Where no pod of the
        first page has one, the cluster has one IP family, and the other pages are not read.
        """
        at: dict[Address, list[Mapping[str, Any]]] = defaultdict(list)
        try:
            for pods in self._client.pages_of_running_pods():
                for pod in pods:
                    for address in _addresses_of(pod)[1:]:
                        if address is not None:
                            at[address].append(_shorten(pod))
                if not at:
                    break
        except ClusterError as error:
            raise undecided(error) from error
        return {address: identify_pod(pods, address) for address, pods in at.items()}

    def _list_pods(self, address: Address) -> PodIdentity:
        try:
            return identify_pod(self._client.running_pods_at(str(address)), address)
        except ClusterError as error:
            raise undecided(error) from error

    def _review(self, token: str) -> Account | None:
        try:
            return read_token_review(self._client.review_token(token, self._audience), self._audience)
        except ClusterError as error:
            raise undecided(error) from None  # the API server's message may quote the token


def undecided(error: ClusterError) -> UndecidedError:
    """Make the error of a look-up that failed."""
    # The message of a 422 may quote the request, and so the token.
    return UndecidedError(
        "the API server refused the look-up as invalid" if isinstance(error, InvalidError) else error.message
    )
