"""Reading collections of any size without holding more of them than a page."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.common.list_count import record_list
from app.common.types import Json
from app.kube.call_timeouts import PAGE_SECONDS
from app.kube.errors import OversizeError, UnavailableError
from app.kube.transport import ApiTransport

_PAGE_OBJECTS = 50
"""Objects per page of a list: one page at a time is held in memory, as text and then as objects of Python.

With 3,000 queued runs, pages of 250 left the process 17 MiB larger than pages of 50, which take as long."""

_PAGE_BYTES = 2**20
"""The most text of a page of more than one object. A page of usual Jobs has a quarter of it; callers can make Jobs of
some 400 KiB, of which 50 would be more than a process has."""

_PAGES_BEFORE_GROWTH = 2
"""After so many pages that were not too large, the next one has twice as many objects."""


@dataclass(frozen=True, slots=True)
class ResourceSelector:
    """The objects of one kind in the namespace, or those of them that a selector picks.

    Attributes:
        path: of the collection, from `/api` or `/apis` on.
        label_selector: empty: all.
        field_selector: empty: all.
    """

    path: str
    label_selector: str = ""
    field_selector: str = ""


def read_pages(
    transport: ApiTransport, collection: ResourceSelector, *, page_seconds: float = PAGE_SECONDS
) -> Iterator[tuple[list[Json], int]]:
    """Read a collection as it is now, page by page.

    Args:
        transport: whose.
        collection: to be read.
        page_seconds: how long a page may take in all.

    Yields:
        The objects of a page, and the resourceVersion, which is the same for all pages. Use the objects before you take
        the next page: this function then empties their list, so that one page at a time is in memory.

    Raises:
        ExpiredError: reading took so long that the API server has forgotten that moment; begin again.
        ClusterError: anything else.
    """
    record_list()
    query: dict[str, str | int] = {}
    if collection.label_selector:
        query["labelSelector"] = collection.label_selector
    if collection.field_selector:
        query["fieldSelector"] = collection.field_selector
    most, short_pages = _PAGE_OBJECTS, 0
    while True:
        query["limit"] = most
        most_bytes = _PAGE_BYTES if most > 1 else None
        try:
            page = transport.call(
                "GET", collection.path, query=query, whole_seconds=page_seconds, most_bytes=most_bytes
            )
        except OversizeError:
            most //= 2  # where one object is large, its neighbours are likely to be
            short_pages = 0
            continue
        if not str(page.get("kind")).endswith("List"):
            raise UnavailableError("the response is not from a Kubernetes API server")
        metadata, items = page["metadata"], page.pop("items", None) or []
        yield items, int(metadata["resourceVersion"])
        if not metadata.get("continue"):
            return
        items.clear()
        # Large objects may be few. Two pages in a row that fit are followed by a larger one.
        short_pages += 1
        if most < _PAGE_OBJECTS and short_pages >= _PAGES_BEFORE_GROWTH:
            most, short_pages = min(2 * most, _PAGE_OBJECTS), 0
        query["continue"] = metadata["continue"]
