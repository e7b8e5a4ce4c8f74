"""Who a caller is, as the API server knows: the pod at an address, the ServiceAccount of a token."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.auth.addresses import Address, read_address
from app.auth.tokens import Account, InvalidTokenError, judge_review
from app.common.concurrency_limiter import ConcurrencyLimiter
from app.common.single_flight_cache import SingleFlightCache
from app.kube import labels
from app.kube.client import NamespacedClient
from app.kube.errors import ClusterError, InvalidError

_POD_SECONDS = 2.0
"""How long a pod is taken for what it was: its address may be another's soon after it has ended."""

_TOKEN_SECONDS = 10.0
"""How long a token is taken for good, or for bad."""


class UndecidedError(ClusterError):
    """The API server could not be asked who calls: nobody is let in, and nothing has been done."""

    detail = "the Kubernetes API server can't say who calls; nothing has been done"


@dataclass(frozen=True, slots=True)
class PodFound:
    """What there is at an address.

    Attributes:
        name: of the pod; of one of them, where several claim the address; empty: there is none.
        trusted: whether a call from there is a trusted pod's.
    """

    name: str = ""
    trusted: bool = False


def judge_pods(pods: Sequence[Mapping[str, Any]], address: Address) -> PodFound:
    """Say which of some pods a call from an address comes from, and whether that one is trusted.

    A trusted pod runs, is not being deleted, and has its address for itself: on its host's network it would share it
    with whatever else is on that machine. Where several running pods claim an address, all must be worth trusting, for
    the call may be any one's.
    """
    claimants = [pod for pod in pods if _claims(pod, address)]
    suspects = [pod for pod in claimants if not _is_worth_trusting(pod)]
    good = [pod for pod in claimants if not suspects and not pod["metadata"].get("deletionTimestamp")]
    for pod in (*suspects, *good, *claimants):
        return PodFound(str(pod["metadata"]["name"]), trusted=bool(good))
    return PodFound()


def _claims(pod: Mapping[str, Any], address: Address) -> bool:
    status = pod.get("status") or {}
    addresses = [read_address(entry.get("ip")) for entry in status.get("podIPs") or ()]
    return status.get("phase") == "Running" and address in addresses


def _is_worth_trusting(pod: Mapping[str, Any]) -> bool:
    trust = (pod["metadata"].get("annotations") or {}).get(labels.DEFAULT_TRUST_ANNOTATION, labels.TRUSTED)
    return trust == labels.TRUSTED and not (pod.get("spec") or {}).get("hostNetwork")


class Identities:
    """Looks callers up. Safe to share between threads.

    Args:
        client: whose pods count.
        audience: whom tokens must be meant for.
        limiter: where calls wait for the API server.
        clock: seconds that never go back.
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
        self._pods: SingleFlightCache[PodFound] = SingleFlightCache(
            limiter, seconds=_POD_SECONDS, kind="pod", clock=clock
        )
        self._accounts: SingleFlightCache[Account | InvalidTokenError | None] = SingleFlightCache(
            limiter, seconds=_TOKEN_SECONDS, kind="token", clock=clock
        )

    def pod_at(self, address: Address) -> PodFound:
        """The pod of the namespace at an address, as of at most two seconds ago.

        Raises:
            UndecidedError: the API server can't be asked.
            BusyError: too many calls wait for it.
        """
        return self._pods.get(address, lambda: self._find_pod(address))

    def account_of(self, token: str) -> Account | None:
        """The ServiceAccount of a token, as of at most ten seconds ago; `None`: the token is somebody else's.

        Raises:
            InvalidTokenError: the API server does not accept it.
            UndecidedError: the API server can't be asked.
            BusyError: too many calls wait for it.
        """
        found = self._accounts.get(hashlib.sha256(token.encode()).digest(), lambda: self._review(token))
        if isinstance(found, InvalidTokenError):
            raise InvalidTokenError(*found.args)
        return found

    def _find_pod(self, address: Address) -> PodFound:
        try:
            return judge_pods(self._client.running_pods_at(str(address)), address)
        except ClusterError as error:
            raise _undecided(error) from error

    def _review(self, token: str) -> Account | InvalidTokenError | None:
        try:
            status = self._client.review_token(token, self._audience)
        except ClusterError as error:
            raise _undecided(error) from None
        try:
            return judge_review(status, self._audience)
        except InvalidTokenError as error:
            return error


def _undecided(error: ClusterError) -> UndecidedError:
    words = "the API server does not accept the question" if isinstance(error, InvalidError) else error.message
    return UndecidedError(words)
