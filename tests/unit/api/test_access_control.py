"""Access to definitions, for each visibility and with private definitions hidden or not."""

import pytest
from flask import Flask

from app.api.access_control import AccessControl
from app.auth.actions import Action
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
            assert control.require("private", Action.READ) == control.require("private", Action.LIST)
            assert len(control.visible()) == 2
        assert trusted.calls == request_number


@pytest.mark.parametrize("action", [Action.START, Action.READ, Action.READ_LOG, Action.CANCEL])
@pytest.mark.parametrize("hide_private", [False, True])
def test_require__does_not_authorize_callers_of_public_definitions(
    untrusted: CountingAuthorizer, hide_private: bool, action: Action
) -> None:
    with Flask("test").test_request_context():
        control = AccessControl(Registry(DEFINITIONS), untrusted, hide_private=hide_private)
        assert control.require("public", action).definition.name == "public"
    assert untrusted.calls == 0


def test_require__refuses_private_definitions_to_untrusted_callers(untrusted: CountingAuthorizer) -> None:
    with Flask("test").test_request_context(), pytest.raises(NotTrustedError):
        AccessControl(Registry(DEFINITIONS), untrusted).require("private", Action.START)


@pytest.mark.parametrize("name", ["private", "unknown"])
def test_require__treats_hidden_and_unknown_definitions_alike(untrusted: CountingAuthorizer, name: str) -> None:
    """Both cost one authorization and raise the same error, so neither the response nor the time tells them apart."""
    with Flask("test").test_request_context(), pytest.raises(UnknownDefinitionError, match=name):
        AccessControl(Registry(DEFINITIONS), untrusted, hide_private=True).require(name, Action.START)
    assert untrusted.calls == 1


FALLBACK = {**DEFINITIONS, "default": Definition(name="default", image="busybox:1", visibility="Public")}
HIDDEN_FALLBACK = {**DEFINITIONS, "default": Definition(name="default", image="busybox:1")}


@pytest.mark.parametrize("action", [Action.START, Action.READ, Action.READ_LOG, Action.CANCEL])
def test_require__falls_back_for_an_unknown_name(untrusted: CountingAuthorizer, action: Action) -> None:
    control = AccessControl(Registry(FALLBACK), untrusted)
    with Flask("test").test_request_context():
        assert control.require("Unknown", action).definition.name == "default"


@pytest.mark.parametrize("action", [Action.LIST, Action.EMPTY])
def test_require__does_not_fall_back_for_a_whole_definition(trusted: CountingAuthorizer, action: Action) -> None:
    """A mistyped name must not empty another queue."""
    control = AccessControl(Registry(FALLBACK), trusted)
    with Flask("test").test_request_context():
        assert control.require("default", action).definition.name == "default"
        with pytest.raises(UnknownDefinitionError, match="unknown"):
            control.require("unknown", action)


@pytest.mark.parametrize("name", ["a_b", "a" * 31, "-", "a-slimfaas-job-b"])
def test_require__does_not_fall_back_for_a_name_that_no_definition_can_have(
    trusted: CountingAuthorizer, name: str
) -> None:
    with Flask("test").test_request_context(), pytest.raises(UnknownDefinitionError):
        AccessControl(Registry(FALLBACK), trusted).require(name, Action.START)


def test_require__applies_the_visibility_of_the_fallback(untrusted: CountingAuthorizer) -> None:
    with Flask("test").test_request_context(), pytest.raises(NotTrustedError):
        AccessControl(Registry(HIDDEN_FALLBACK), untrusted).require("unknown", Action.START)


def test_require__never_falls_back_from_a_private_definition(untrusted: CountingAuthorizer) -> None:
    """A public fallback opens no private name."""
    with Flask("test").test_request_context(), pytest.raises(NotTrustedError):
        AccessControl(Registry(FALLBACK), untrusted).require("private", Action.START)


@pytest.mark.parametrize("name", ["private", "unknown"])
@pytest.mark.parametrize("definitions", [FALLBACK, HIDDEN_FALLBACK])
def test_require__hides_private_definitions_beside_a_fallback(
    untrusted: CountingAuthorizer, definitions: dict[str, Definition], name: str
) -> None:
    """Otherwise a public fallback would answer for exactly those names that are not private."""
    with Flask("test").test_request_context(), pytest.raises(UnknownDefinitionError, match=name):
        AccessControl(Registry(definitions), untrusted, hide_private=True).require(name, Action.START)
    assert untrusted.calls == 1


def test_require__falls_back_for_trusted_callers_where_private_definitions_are_hidden(
    trusted: CountingAuthorizer,
) -> None:
    control = AccessControl(Registry(HIDDEN_FALLBACK), trusted, hide_private=True)
    with Flask("test").test_request_context():
        assert control.require("unknown", Action.START).definition.name == "default"
