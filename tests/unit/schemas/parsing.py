"""Reading a request where no definition is at hand."""

from schemas.faults import refuse_request
from schemas.request import Request, read_request


def parse_request(body: bytes) -> Request:
    """Read the body of a call; what is wrong with it is refused at once.

    Raises:
        schemas.documents.NotJson: the body isn't JSON.
        Refused: it is JSON, but not a request; it carries every fault.
    """
    request, faults = read_request(body)
    if faults:
        refuse_request(faults)
    return request
