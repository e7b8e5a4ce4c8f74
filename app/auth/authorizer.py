"""Decides whether a caller is trusted with private definitions (docs/adr/0006-who-may-call.md)."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from app.auth.actions import Action
from app.auth.addresses import Address, Network, can_be_pod_address, is_in, read_address
from app.auth.identities import PodIdentity
from app.auth.proxy_headers import find_client_address
from app.auth.tokens import Account, read_token
from app.auth.users import User
from app.common.errors import ErrorKind, ServiceError


class NotTrustedError(ServiceError):
    """The definition is private and the caller is not trusted."""

    kind = ErrorKind.FORBIDDEN
    detail = (
        "this definition is private, and the caller is not trusted; call it from a trusted pod or with a trusted "
        "token, or have its Visibility set to Public"
    )


class NotPermittedError(ServiceError):
    """The cluster's RBAC does not permit it.

    Args:
        permission: what is missing, in the words of `kubectl auth can-i`.
    """

    kind = ErrorKind.FORBIDDEN

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self._permission = permission

    @property
    def detail(self) -> str:
        """Which permission is missing."""
        return f"the cluster's RBAC does not permit it; needed: {self._permission}"


class UntrustedOnPublicError(ServiceError):
    """The definition is public, but the caller asks for what only trusted callers get."""

    kind = ErrorKind.FORBIDDEN
    detail = (
        "this definition is public, but listing its runs or schedules or emptying its queue needs a trusted caller; "
        "to use a run or a schedule, its id is enough"
    )


class AuthReason(StrEnum):
    """Why a caller is trusted or not. The access log shows these values."""

    TRUSTED_ACCOUNT = "trusted-account"
    TRUSTED_NETWORK = "trusted-network"
    TRUSTED_POD = "trusted-pod"
    USER = "user"
    ANONYMOUS = "anonymous"
    UNLISTED_ACCOUNT = "unlisted-account"
    NO_ACCOUNT = "token-of-no-account"
    NO_ADDRESS = "no-address"
    UNTRUSTED_PROXY = "forwarded-by-no-trusted-proxy"
    UNCLEAR_CLIENT = "forwarded-for-no-clear-address"
    UNTRUSTED_POD = "untrusted-pod"
    NO_POD = "no-pod-of-the-namespace"


_TRUSTED = frozenset({AuthReason.TRUSTED_ACCOUNT, AuthReason.TRUSTED_NETWORK, AuthReason.TRUSTED_POD})


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says about its sender, before any look-up.

    Attributes:
        address: the remote end of the connection, as the server writes it; `None` if unknown.
        forwarding: the headers of `FORWARDING_HEADERS` that the request has, by name; empty ones included.
        authorization: the `Authorization` header; `None` if absent.
    """

    address: str | None
    forwarding: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = None


@dataclass(frozen=True, slots=True)
class TrustRules:
    """Which callers the settings trust.

    Attributes:
        networks: networks whose addresses are trusted.
        proxies: networks of the proxies whose forwarding headers are believed.
        accounts: trusted ServiceAccounts, `*` for any namespace or any name. If empty, tokens are ignored.
    """

    networks: tuple[Network, ...] = ()
    proxies: tuple[Network, ...] = ()
    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthDecision:
    """The decision about a caller.

    Attributes:
        reason: why the caller is trusted or not.
        address: the caller's address; `None` if unknown or irrelevant.
        pod: the name of the caller's pod; empty if no pod of the namespace has the address.
        account: the ServiceAccount of the token that decided; `None` if no token decided.
        user: the user of the request's token; `None` if no token was looked up.
    """

    reason: AuthReason
    address: Address | None = None
    pod: str = ""
    account: Account | None = None
    user: User | None = None

    @property
    def trusted(self) -> bool:
        """Whether the caller may use private definitions."""
        return self.reason in _TRUSTED


class IdentityLookup(Protocol):
    """Finds identities in the cluster; see `app.auth.identities.Identities`."""

    def find_pod(self, address: Address) -> PodIdentity:
        """Find the pod at an address."""

    def find_account(self, token: str) -> Account | None:
        """Find the ServiceAccount of a token."""


class Authorizer:
    """Decides whether callers are trusted. A trusted caller may do everything. Safe to share between threads.

    Args:
        rules: which callers the settings trust.
        identities: looks pods and tokens up in the cluster.
        wall_clock: returns seconds since the epoch.
    """

    identifies_all = False
    """Whether every token is looked up, also that of a request that anyone may make."""

    def __init__(
        self, rules: TrustRules, identities: IdentityLookup, *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._rules = rules
        self._identities = identities
        self._wall_clock = wall_clock

    def authorize(self, caller: Caller) -> AuthDecision:
        """Decide whether a caller is trusted. Looks up at most one identity, and only if the decision depends on it.

        1. If tokens are enabled and the request has one, only the token decides.
        2. Otherwise the client's address decides: the connection's, or the one that trusted proxies report.

        Raises:
            InvalidTokenError: the request has a token and the token is not valid.
            UndecidedError: the call to the API server failed.
            BusyError: too many requests wait for the API server.
        """
        rules = self._rules
        if rules.accounts and (token := read_token(caller.authorization, self._wall_clock())) is not None:
            return self._authorize_account(self._identities.find_account(token))
        connection = read_address(caller.address)
        if connection is None:
            return AuthDecision(AuthReason.NO_ADDRESS)
        if is_in(connection, rules.proxies):
            # A proxy sends no requests of its own, so its own address never makes a request trusted.
            client = find_client_address(caller.forwarding, rules.proxies)
            return AuthDecision(AuthReason.UNCLEAR_CLIENT) if client is None else self._authorize_address(client)
        if caller.forwarding:
            return AuthDecision(AuthReason.UNTRUSTED_PROXY)
        return self._authorize_address(connection)

    def allows(self, decision: AuthDecision, action: Action, definition: str) -> bool:
        """Return whether a caller may do something with a definition that is not open to anyone."""
        return decision.trusted

    def _authorize_account(self, account: Account | None) -> AuthDecision:
        if account is None:
            return AuthDecision(AuthReason.NO_ACCOUNT)
        user = User(f"system:serviceaccount:{account}")
        listed = any(
            trusted.namespace in ("*", account.namespace) and trusted.name in ("*", account.name)
            for trusted in self._rules.accounts
        )
        return AuthDecision(
            AuthReason.TRUSTED_ACCOUNT if listed else AuthReason.UNLISTED_ACCOUNT, account=account, user=user
        )

    def _authorize_address(self, address: Address) -> AuthDecision:
        if is_in(address, self._rules.networks):
            return AuthDecision(AuthReason.TRUSTED_NETWORK, address)
        pod = self._identities.find_pod(address) if can_be_pod_address(address) else PodIdentity()
        if not pod.name:
            return AuthDecision(AuthReason.NO_POD, address)
        return AuthDecision(AuthReason.TRUSTED_POD if pod.trusted else AuthReason.UNTRUSTED_POD, address, pod.name)
