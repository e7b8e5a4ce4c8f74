"""Access to definitions, for each visibility and with private definitions hidden or not."""

import pytest
from flask import Flask

from app.api.access_control import AccessControl
from app.auth.authorizer import AuthDecision, Authorizer, AuthReason, Caller, NotTrustedError, TrustRules
from app.auth.identities import PodIdentity
from app.definitions.registry import Registry, UnknownDefinitionError
from schemas.definition import Definition

DEFINITIONS = {
    "public": Definition(name="public", image="busybox:1", visibility="Public"),
    "private": Definition(name="private", image="busybox:1"),
}


class CountingAuthorizer(Authorizer):
    """Gives every caller the same decision and counts how often it is asked."""

    def __init__(self, reason: AuthReason) -> None:
        super().__init__(TrustRules(), _NoIdentities())
        self.calls = 0
        self._reason = reason

    def authorize(self, caller: Caller) -> AuthDecision:
        """Return the decision."""
        self.calls += 1
        return AuthDecision(self._reason)


class _NoIdentities:
    def find_pod(self, address: object) -> PodIdentity:
        raise AssertionError(address)

    def find_account(self, token: str) -> None:
        raise AssertionError(token)


@pytest.fixture
def trusted() -> CountingAuthorizer:
    """An authorizer that trusts every caller."""
    return CountingAuthorizer(AuthReason.TRUSTED_NETWORK)


@pytest.fixture
def untrusted() -> CountingAuthorizer:
    """An authorizer that trusts no caller."""
    return CountingAuthorizer(AuthReason.NO_POD)


def test_require__authorizes_the_caller_once_per_request(trusted: CountingAuthorizer) -> None:
    control = AccessControl(Registry(DEFINITIONS), trusted)
    app = Flask("test")
    for request_number in (1, 2):
        with app.test_request_context():
            assert control.require("private") is control.require("private")
            assert len(control.visible()) == 2
        assert trusted.calls == request_number


@pytest.mark.parametrize("hide_private", [False, True])
def test_require__does_not_authorize_callers_of_public_definitions(
    untrusted: CountingAuthorizer, hide_private: bool
) -> None:
    with Flask("test").test_request_context():
        control = AccessControl(Registry(DEFINITIONS), untrusted, hide_private=hide_private)
        assert control.require("public").name == "public"
    assert untrusted.calls == 0


def test_require__refuses_private_definitions_to_untrusted_callers(untrusted: CountingAuthorizer) -> None:
    with Flask("test").test_request_context(), pytest.raises(NotTrustedError):
        AccessControl(Registry(DEFINITIONS), untrusted).require("private")


@pytest.mark.parametrize("name", ["private", "unknown"])
def test_require__treats_hidden_and_unknown_definitions_alike(untrusted: CountingAuthorizer, name: str) -> None:
    """Both cost one authorization and raise the same error, so neither the response nor the time tells them apart."""
    with Flask("test").test_request_context(), pytest.raises(UnknownDefinitionError, match=name):
        AccessControl(Registry(DEFINITIONS), untrusted, hide_private=True).require(name)
    assert untrusted.calls == 1
