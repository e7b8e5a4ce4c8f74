"""The uid in a ServiceAccount's token."""

import base64
import json
from typing import Any

import pytest

from app.kube.account_uid import read_account_uid


def make_token(claims: Any) -> str:
    return f"Bearer e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


def test_read_account_uid__finds_the_uid_of_a_bound_token() -> None:
    """All pods of an installation have the same."""
    claims = {"kubernetes.io": {"namespace": "x", "serviceaccount": {"name": "slimfaas", "uid": "1-2"}}, "exp": 1}
    assert read_account_uid(make_token(claims)) == "1-2"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer opaque",
        "Bearer a.b.c",
        "Basic e30.e30.e30",
        make_token({}),
        make_token([]),
        make_token({"kubernetes.io": None}),
        make_token({"kubernetes.io": {"serviceaccount": {"uid": 1}}}),
        make_token({"sub": "somebody"}),
    ],
)
def test_read_account_uid__finds_none_in_other_credentials(authorization: str | None) -> None:
    """Such as the certificate or the token of a person."""
    assert read_account_uid(authorization) == ""
