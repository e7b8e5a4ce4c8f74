"""The connections to the API server: urllib3's, with a deadline for each response and a token that ends it.

A request is sent in one piece. urllib3 sends its head and its body one after the other, and each of these system calls
gives the interpreter away to another thread, from which it then has to be won back.
"""

from typing import Any

import urllib3

from app.kube.cancel_token import CancelToken
from app.kube.deadlines import ReadDeadline, Response


class _Exchange:
    """One request and its response; mixed into urllib3's connections.

    Attributes:
        read_deadline: of the response.
        cancel_token: ends the exchange; `None`: nothing does.
    """

    read_deadline = ReadDeadline()
    cancel_token: CancelToken | None = None
    _unsent: bytearray | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._unsent = unsent = bytearray()
        try:
            super().request(*args, **kwargs)  # type: ignore[misc] # the connection's
        finally:
            self._unsent = None
        self.send(unsent)

    def send(self, data: Any) -> None:
        if self._unsent is None:
            super().send(data)  # type: ignore[misc] # the connection's
        else:
            self._unsent += data

    def getresponse(self) -> urllib3.HTTPResponse:
        if self.cancel_token is not None:
            self.cancel_token.attach(self.sock)  # type: ignore[attr-defined] # the connection's
        response: urllib3.HTTPResponse = super().getresponse()  # type: ignore[misc] # the connection's
        return response

    def response_class(self, *args: Any, **kwargs: Any) -> Response:
        return Response(*args, read_deadline=self.read_deadline, **kwargs)


class _Connection(_Exchange, urllib3.connection.HTTPConnection):  # type: ignore[misc] # see _Exchange
    pass


class _TlsConnection(_Exchange, urllib3.connection.HTTPSConnection):  # type: ignore[misc] # see _Exchange
    pass


class _ExchangePool:
    """Passes what is special to an exchange on to its connection; mixed into urllib3's pools."""

    def _make_request(
        self, conn: _Exchange, *args: Any, read_deadline: ReadDeadline, cancel_token: CancelToken | None, **kwargs: Any
    ) -> urllib3.BaseHTTPResponse:
        conn.read_deadline, conn.cancel_token = read_deadline, cancel_token
        response: urllib3.BaseHTTPResponse = super()._make_request(conn, *args, **kwargs)  # type: ignore[misc] # the pool's
        return response


class _Pool(_ExchangePool, urllib3.HTTPConnectionPool):  # type: ignore[misc] # see _ExchangePool
    ConnectionCls = _Connection


class _TlsPool(_ExchangePool, urllib3.HTTPSConnectionPool):  # type: ignore[misc] # see _ExchangePool
    ConnectionCls = _TlsConnection


POOLS = {"http": _Pool, "https": _TlsPool}
"""The pools by scheme. Their `urlopen` takes `read_deadline` and `cancel_token` besides urllib3's parameters."""
