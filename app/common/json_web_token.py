"""The claims of a JSON Web Token (RFC 7519). Nothing here checks a signature."""

import base64
import json
from collections.abc import Mapping
from typing import Any, NoReturn


def read_claims(token: str) -> Mapping[str, Any]:
    """Return the claims of a token, which nobody has verified.

    Args:
        token: in the compact form: three parts with dots between them (RFC 7515, section 7.1).

    Raises:
        ValueError: it is not a JSON Web Token, or its claims cannot be read.
    """
    _, part, _ = token.split(".")
    try:
        text = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        claims = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("the claims are nested too deeply") from error
    if not isinstance(claims, dict):
        raise ValueError("the claims are not an object")
    return claims


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
