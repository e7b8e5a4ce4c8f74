"""The connections to the API server: urllib3's, with a deadline for each response and a token that ends it.

A request notes when its sending begins: before that nothing can have been carried out.

A request is sent in one piece. urllib3 sends its head and its body one after the other, and each of these system calls
gives the interpreter away to another thread, from which it then has to be won back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from app.kube.cancel_token import CancelToken
from app.kube.deadlines import ReadDeadline, Response


@dataclass(slots=True)
class Progress:
    """How far a request has come.

    Attributes:
        began: whether its sending has begun.
    """

    began: bool = False


class _Exchange:
    """One request and its response; mixed into urllib3's connections.

    Attributes:
        progress: of the request.
        read_deadline: of the response.
        cancel_token: ends the exchange; `None`: nothing does.
    """

    progress = Progress()
    read_deadline = ReadDeadline()
    cancel_token: CancelToken | None = None
    _unsent: bytearray | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._unsent = unsent = bytearray()
        try:
            super().request(*args, **kwargs)  # type: ignore[misc] # the connection's
        finally:
            self._unsent = None
        if self.sock is None:  # type: ignore[attr-defined] # the connection's
            self.connect()  # type: ignore[attr-defined] # the connection's
        self.progress.began = True
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
        self,
        conn: _Exchange,
        *args: Any,
        progress: Progress,
        read_deadline: ReadDeadline,
        cancel_token: CancelToken | None,
        **kwargs: Any,
    ) -> urllib3.BaseHTTPResponse:
        conn.progress, conn.read_deadline, conn.cancel_token = progress, read_deadline, cancel_token
        response: urllib3.BaseHTTPResponse = super()._make_request(conn, *args, **kwargs)  # type: ignore[misc] # the pool's
        return response


class _Pool(_ExchangePool, urllib3.HTTPConnectionPool):  # type: ignore[misc] # see _ExchangePool
    ConnectionCls: Any = _Connection


class _TlsPool(_ExchangePool, urllib3.HTTPSConnectionPool):  # type: ignore[misc] # see _ExchangePool
    ConnectionCls: Any = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


def pools_for(manager: urllib3.PoolManager) -> Mapping[str, type[urllib3.HTTPConnectionPool]]:
    """Return the pools by scheme for a pool manager of urllib3: one without a proxy, with one, or with a SOCKS proxy.

    Their `urlopen` takes `progress`, `read_deadline` and `cancel_token` besides urllib3's parameters.
    """
    if "_socks_options" not in manager.connection_pool_kw:
        return _POOLS
    from urllib3.contrib import socks  # needs an extra

    class Connection(_Exchange, socks.SOCKSConnection):  # type: ignore[misc] # see _Exchange
        pass

    class TlsConnection(_Exchange, socks.SOCKSHTTPSConnection):  # type: ignore[misc] # see _Exchange
        pass

    class Pool(_Pool):
        ConnectionCls: Any = Connection

    class TlsPool(_TlsPool):
        ConnectionCls: Any = TlsConnection

    return {"http": Pool, "https": TlsPool}
