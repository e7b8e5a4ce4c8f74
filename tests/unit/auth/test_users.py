"""Tokens of any kind, and the users that TokenReviews name."""

import base64
import json
from typing import Any

import pytest

from app.auth.tokens import InvalidTokenError, read_any_token, read_claims
from app.auth.users import ANONYMOUS, User, read_user


def jwt(claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


@pytest.mark.parametrize(
    "token", ["s3cret", "a.b.c", "abc/+~==", jwt({}), jwt([]), jwt({"exp": 200}), jwt({"exp": "1"})]
)
def test_read_any_token__accepts_tokens_of_any_form(token: str) -> None:
    """Only the API server knows whether an opaque token is valid."""
    assert read_any_token(f"Bearer {token}", 100) == token


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer a b", "Bearer a,Bearer b", "Basic eDp5, Bearer a", "Bearer \u00e9", f"Bearer {'a' * 9000}",
     "Bearer a\nb", "Bearer =", f"Bearer {jwt({'exp': 100})}"],
)  # fmt: skip
def test_read_any_token__refuses_what_is_no_single_token(header: str) -> None:
    """A token with a space in it would be another one to the API server, or none."""
    with pytest.raises(InvalidTokenError):
        read_any_token(header, 100)


@pytest.mark.parametrize("header", [None, "", "Basic eDp5"])
def test_read_any_token__returns_none_without_a_token(header: str | None) -> None:
    assert read_any_token(header, 100) is None


def test_read_claims__is_empty_for_other_tokens() -> None:
    assert read_claims(jwt({"aud": ["a"]})) == {"aud": ["a"]}
    assert read_claims(jwt([])) == read_claims("a.b") == read_claims("a.%.c") == {}


def status(username: object = "jane", **changes: Any) -> dict[str, Any]:
    user = {"username": username, "uid": "1", "groups": ["g"], "extra": {"k": ["v"]}}
    return {"authenticated": True, "audiences": ["jobs"], "user": user, **changes}


def test_read_user__keeps_all_that_decides() -> None:
    user = read_user(status(), "jobs")
    assert user.subject() == {"user": "jane", "uid": "1", "groups": ["g"], "extra": {"k": ["v"]}}
    assert read_user(status(audiences=None), None) == user


@pytest.mark.parametrize(
    "answer",
    [
        {},
        status(authenticated=False),
        status(authenticated="true"),
        status(audiences=["x"]),
        status(audiences=None),
        status(""),
        status(None),
        status(5),
        status("system:anonymous"),
    ],
)
def test_read_user__refuses_what_proves_no_user(answer: dict[str, Any]) -> None:
    with pytest.raises(InvalidTokenError):
        read_user(answer, "jobs")


def test_digest__differs_for_users_that_differ_in_anything() -> None:
    """Answers about one user must not be given to another."""
    users = [
        User("a"),
        User("b"),
        User("a", '{"groups": ["g"]}'),
        User("a", '{"groups": ["h"]}'),
        User("a", '{"uid": "g"}'),
        User('a", "{\\"groups\\": [\\"g\\"]}'),
        User("\ud800"),
        ANONYMOUS,
    ]
    assert len({user.digest() for user in users}) == len(users)
