"""Parsing of a request without a definition."""

from schemas.faults import refuse_request
from schemas.request import Request, read_request


def parse_request(body: bytes) -> Request:
    """Parse the body of a request, and refuse it if it has faults.

    Raises:
        schemas.documents.NotJson: the body is not JSON.
        Refused: the body has faults.
    """
    request, faults = read_request(body)
    if faults:
        refuse_request(faults)
    return request
