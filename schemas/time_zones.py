"""Time zones by their names in the IANA database, with the API server's rules for such names."""

import re
from functools import lru_cache
from zoneinfo import ZoneInfo

_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")


@lru_cache(maxsize=64)
def find_time_zone(name: str) -> ZoneInfo | None:
    """Return the time zone of a name such as `Europe/Paris`; `None`: there is none of this name."""
    parts = name.split("/")
    if any(part in (".", "..") or part.startswith("-") or not _PART.fullmatch(part) for part in parts):
        return None
    if name.lower() == "local":
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder, another file, no such file
        return None
