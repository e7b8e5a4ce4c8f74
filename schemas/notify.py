"""The notifications of a definition: who is told when one of its runs ends, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from schemas.faults import Fault, pointer_to

EventFormat = Literal["Structured", "Binary"]

DEFAULT_MAX_UNDELIVERED = 1000
"""How many ended runs of a definition wait for a receiver that can't be reached, if the definition sets no number."""

HIGHEST_MAX_UNDELIVERED = 10_000
"""The highest number that a definition may set for that."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Where the ends of a definition's runs are sent.

    Attributes:
        url: of the receiver, `http` or `https`.
        on: the outcomes that are sent: `succeeded`, `failed`.
        secret: the name of a Secret and its key, which holds what requests are signed with; `None`: nothing is signed.
        format: `Structured`: the CloudEvent is the body. `Binary`: its attributes are headers, and the run is the body.
        max_undelivered: how many ended runs may wait for the receiver. Beyond that, the oldest one is given up.
    """

    url: str
    on: frozenset[str]
    secret: tuple[str, str] | None = None
    format: EventFormat = "Structured"
    max_undelivered: int = DEFAULT_MAX_UNDELIVERED

    @property
    def receiver(self) -> str:
        """The receiver's scheme, host and port: what fails together."""
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.url)).lower()


def build_notify(entry: Mapping[str, Any]) -> Notify:
    """Build it from a `Notify` that the JSON Schema has accepted."""
    reference = entry.get("SecretRef")
    return Notify(
        url=entry["Url"],
        on=frozenset(outcome.lower() for outcome in entry.get("On", ("Succeeded", "Failed"))),
        secret=None if reference is None else (reference["Name"], reference["Key"]),
        format=entry.get("Format", "Structured"),
        max_undelivered=entry.get("MaxUndelivered", DEFAULT_MAX_UNDELIVERED),
    )


def notify_faults(path: tuple[str, ...], notify: object) -> Iterator[Fault]:
    """Find the faults of a `Notify` that a schema cannot express. What the schema refuses is skipped."""
    url = notify.get("Url") if isinstance(notify, dict) else None
    if isinstance(url, str) and (message := _url_fault(url)):
        yield Fault(pointer_to(*path, "Url"), message)


def _url_fault(url: str) -> str:
    try:
        parts: SplitResult = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return "not a URL with a valid host and port"
    if port == 0:
        return "not a URL with a valid host and port"
    labels = [] if ":" in host else host.removesuffix(".").split(".")
    if len(host) > 253 or not all(0 < len(label) <= 63 for label in labels):
        return "its host is no DNS name and no IP address"
    return ""
