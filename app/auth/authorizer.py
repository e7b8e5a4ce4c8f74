"""Who is trusted to use a private definition: the decision (docs/adr/0006-who-may-call.md)."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from app.auth.addresses import Address, Network, can_be_a_pods, is_in, read_address
from app.auth.identities import PodFound
from app.auth.proxy_headers import find_caller
from app.auth.tokens import Account, read_token
from app.common.errors import ErrorKind, ServiceError


class NotTrustedError(ServiceError):
    """A private definition was asked for by a caller that isn't trusted."""

    kind = ErrorKind.FORBIDDEN
    detail = "this job is private"


class AuthReason(StrEnum):
    """Why a caller is trusted, or not; operators read these in the log."""

    TRUSTED_ACCOUNT = "trusted-account"
    TRUSTED_NETWORK = "trusted-network"
    TRUSTED_POD = "trusted-pod"
    UNLISTED_ACCOUNT = "unlisted-account"
    NO_ACCOUNT = "token-of-no-account"
    NO_ADDRESS = "no-address"
    FORWARDED_BY_STRANGER = "forwarded-by-no-trusted-proxy"
    FORWARDED_FOR_NOBODY = "forwarded-for-no-clear-address"
    UNTRUSTED_POD = "untrusted-pod"
    NO_POD = "no-pod-of-the-namespace"


_TRUSTED = frozenset({AuthReason.TRUSTED_ACCOUNT, AuthReason.TRUSTED_NETWORK, AuthReason.TRUSTED_POD})


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of a call's sender before anybody is asked.

    Attributes:
        address: of the connection's other end, as the server writes it; `None` where there is none.
        forwarding: those of `FORWARDING_HEADERS` that the request carries, by name, empty ones included.
        authorization: the `Authorization` header.
    """

    address: str | None
    forwarding: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = None


@dataclass(frozen=True, slots=True)
class TrustRules:
    """Whom the settings trust.

    Attributes:
        networks: whose addresses are trusted.
        proxies: whose forwarding headers are believed.
        accounts: ServiceAccounts that are trusted, `*` for any namespace or any name; none: tokens aren't looked at.
    """

    networks: tuple[Network, ...] = ()
    proxies: tuple[Network, ...] = ()
    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthDecision:
    """What was decided about a caller.

    Attributes:
        reason: why.
        address: the caller's, if that is known.
        pod: its name, if a pod of the namespace calls.
        account: the ServiceAccount of the token that decided.
    """

    reason: AuthReason
    address: Address | None = None
    pod: str = ""
    account: Account | None = None

    @property
    def trusted(self) -> bool:
        """Whether the caller may use private definitions."""
        return self.reason in _TRUSTED


class Lookups(Protocol):
    """What the decision may ask; see `app.auth.identities.Identities`."""

    def pod_at(self, address: Address) -> PodFound:
        """The pod at an address."""

    def account_of(self, token: str) -> Account | None:
        """The ServiceAccount of a token."""


def authorize(caller: Caller, rules: TrustRules, lookups: Lookups, *, now: float) -> AuthDecision:
    """Decide whether a caller is trusted.

    1. Where tokens count and there is one, it alone decides.
    2. Else the caller's address does: the connection's own, or what trusted proxies say.

    Args:
        caller: who calls.
        rules: whom the settings trust.
        lookups: asked once at most, and only if the answer depends on it; what they raise passes through.
        now: seconds since the epoch.

    Raises:
        InvalidTokenError: there is a token, and it isn't good.
    """
    if rules.accounts and (token := read_token(caller.authorization, now)) is not None:
        return _judge_account(lookups.account_of(token), rules)
    connection = read_address(caller.address)
    if connection is None:
        return AuthDecision(AuthReason.NO_ADDRESS)
    if is_in(connection, rules.proxies):
        # A proxy never calls for itself: without a word about its client, there is nobody to trust.
        client = find_caller(caller.forwarding, rules.proxies)
        if client is None:
            return AuthDecision(AuthReason.FORWARDED_FOR_NOBODY)
        return _judge_address(client, rules, lookups)
    if caller.forwarding:
        return AuthDecision(AuthReason.FORWARDED_BY_STRANGER)
    return _judge_address(connection, rules, lookups)


def _judge_account(account: Account | None, rules: TrustRules) -> AuthDecision:
    if account is None:
        return AuthDecision(AuthReason.NO_ACCOUNT)
    listed = any(
        trusted.namespace in ("*", account.namespace) and trusted.name in ("*", account.name)
        for trusted in rules.accounts
    )
    return AuthDecision(AuthReason.TRUSTED_ACCOUNT if listed else AuthReason.UNLISTED_ACCOUNT, account=account)


def _judge_address(address: Address, rules: TrustRules, lookups: Lookups) -> AuthDecision:
    if is_in(address, rules.networks):
        return AuthDecision(AuthReason.TRUSTED_NETWORK, address)
    found = lookups.pod_at(address) if can_be_a_pods(address) else PodFound()
    if not found.name:
        return AuthDecision(AuthReason.NO_POD, address)
    return AuthDecision(AuthReason.TRUSTED_POD if found.trusted else AuthReason.UNTRUSTED_POD, address, found.name)


class Authorizer:
    """Decides about callers.

    Args:
        rules: whom the settings trust.
        lookups: who is asked about them.
        wall_clock: seconds since the epoch.
    """

    def __init__(self, rules: TrustRules, lookups: Lookups, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._rules = rules
        self._lookups = lookups
        self._wall_clock = wall_clock

    def authorize(self, caller: Caller) -> AuthDecision:
        """Decide whether a caller is trusted.

        Raises:
            InvalidTokenError: there is a token, and it isn't good.
            UndecidedError: the API server had to be asked, and can't be.
            BusyError: too many calls wait for it.
        """
        return authorize(caller, self._rules, self._lookups, now=self._wall_clock())
