"""The uid of the ServiceAccount that a token is for."""

from app.common.json_web_token import read_claims


def read_account_uid(authorization: str | None) -> str:
    """Return the uid of the ServiceAccount in the claims of a token.

    The token is our own credential, so its signature need not be checked. The claims:
    https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens

    Args:
        authorization: the header's value; `None`: there is none.

    Returns:
        The uid; empty: there is no token, or it is of another kind.
    """
    kind, _, token = (authorization or "").partition(" ")
    try:
        uid = read_claims(token)["kubernetes.io"]["serviceaccount"]["uid"]
    except (ValueError, KeyError, TypeError):
        return ""
    return uid if kind == "Bearer" and isinstance(uid, str) else ""
