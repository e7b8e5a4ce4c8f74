"""Users, as the API server knows them: the result of a TokenReview and the subject of a SubjectAccessReview."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.auth.tokens import InvalidTokenError
from app.common.types import Json

_ANONYMOUS_NAME = "system:anonymous"


@dataclass(frozen=True, slots=True)
class User:
    """A user of the cluster.

    Attributes:
        name: the user's name, any text.
        attributes: groups, uid and extra attributes as JSON, in the form of a SubjectAccessReview's spec. One text
            takes less memory than the objects do.
    """

    name: str
    attributes: str = "{}"

    @property
    def anonymous(self) -> bool:
        """Whether this user is `system:anonymous`, a caller without a token."""
        return self.name == _ANONYMOUS_NAME

    @property
    def size_bytes(self) -> int:
        """About how much memory the user takes."""
        return len(self.name.encode("utf-8", "surrogatepass")) + len(self.attributes)

    def subject(self) -> Json:
        """Return the part of a SubjectAccessReview's spec that names the user."""
        return {**json.loads(self.attributes), "user": self.name}

    def digest(self) -> bytes:
        """Return a digest of everything that the API server may decide by. No two users have the same."""
        return hashlib.sha256(json.dumps([self.name, self.attributes]).encode()).digest()


ANONYMOUS = User(_ANONYMOUS_NAME, json.dumps({"groups": ["system:unauthenticated"]}))
"""A caller without a token, as the API server itself calls it."""


def read_user(status: Mapping[str, Any], audience: str | None) -> User:
    """Return the user that a TokenReview names.

    Args:
        status: the status of the TokenReview that the API server returned.
        audience: the audience that was asked for; a status without it proves nothing. `None`: none was asked for, so
            the API server has checked the token for its own audiences.

    Raises:
        InvalidTokenError: the API server does not accept the token, or the token is for another audience.
    """
    accepted = status.get("authenticated") is True
    if not accepted or (audience is not None and audience not in (status.get("audiences") or ())):
        raise InvalidTokenError("the API server does not accept the token")
    user = status.get("user") or {}
    name = user.get("username")
    if not isinstance(name, str) or name in ("", _ANONYMOUS_NAME):
        raise InvalidTokenError("the API server names no user")
    attributes = {key: user[key] for key in ("uid", "groups", "extra") if user.get(key)}
    return User(name, json.dumps(attributes, sort_keys=True))
