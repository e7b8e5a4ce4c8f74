"""Tells whether all of a request has arrived, so that it can be served without waiting for its client.

gunicorn's parser alone decides what a request says. It reads until it has what it needs, and keeps a thread meanwhile.
So this scan only has to find out whether the parser would wait. What the parser refuses counts as complete.
"""

import re
from collections.abc import Callable

from app.common.http_limits import MAX_BODY_BYTES, MAX_CHUNKS, MAX_HEAD_BYTES

_FRAMING = re.compile(rb"\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_MAX_CHUNK_HEAD_BYTES = 1024
"""The longest line before a chunk: its size and its extensions. A longer one is left to the parser."""


class RequestScan:
    """The scan of one request while it arrives.

    Attributes:
        is_chunked: whether its body comes in chunks, so that its length is not known.
        expects_continue: whether the client waits for `100 Continue` before it sends the body.
    """

    __slots__ = ("_body_at", "_chunk_at", "_chunks", "_end", "expects_continue", "is_chunked")

    def __init__(self) -> None:
        self._body_at: int | None = None
        self._end = 0
        self._chunk_at = 0
        self._chunks = 0
        self.is_chunked = False
        self.expects_continue = False

    @property
    def is_body_known(self) -> bool:
        """Whether the head is there, and tells the length of the body."""
        return self._body_at is not None and not self.is_chunked

    def missing(self, sent: bytes) -> int:
        """Return how many bytes must at least follow before the request is complete; 0: it can be served.

        Args:
            sent: all that has arrived of the request. Further bytes may only be appended from call to call.
        """
        return self.missing_of(len(sent), lambda: sent)

    def missing_of(self, size_bytes: int, read: Callable[[], bytes]) -> int:
        """Do the same without copying the request where its size says enough.

        Args:
            size_bytes: how much has arrived.
            read: returns it.
        """
        if self.is_body_known:
            return max(0, self._end - size_bytes)
        sent = read()
        if self._body_at is None and not self._read_head(sent):
            return 0 if size_bytes > 2 * MAX_HEAD_BYTES else 1
        return self._missing_chunks(sent) if self.is_chunked else max(0, self._end - size_bytes)

    def _read_head(self, sent: bytes) -> bool:
        """Read the head; return whether all of it is there."""
        begin = len(sent) - len(sent.lstrip(b"\r\n"))  # empty lines before a request are no head
        end = sent.find(b"\r\n\r\n", begin)
        if end < 0:
            return False
        self._body_at = self._end = self._chunk_at = end + 4
        for name, value in _FRAMING.findall(sent[begin:end]):
            match name[0:1].lower():
                case b"c":
                    length = int(value) if value.isdigit() and len(value) < 10 else 0
                    self._end = self._body_at + (length if length <= MAX_BODY_BYTES else 0)
                case b"t":
                    self.is_chunked = True
                case _:
                    self.expects_continue = value.strip().lower() == b"100-continue"
        return True

    def _missing_chunks(self, sent: bytes) -> int:
        """Go from chunk to chunk; only what has arrived since the last call is read."""
        assert self._body_at is not None
        while self._chunk_at < len(sent):
            line_end = sent.find(b"\r\n", self._chunk_at)
            if line_end < 0:
                return 0 if len(sent) - self._chunk_at > _MAX_CHUNK_HEAD_BYTES else 1
            try:
                size = int(sent[self._chunk_at : line_end].partition(b";")[0], 16)
            except ValueError:
                return 0
            if size == 0:
                too_long = len(sent) - line_end > MAX_HEAD_BYTES
                return 0 if too_long or sent.find(b"\r\n\r\n", line_end) >= 0 else 1
            self._chunks += 1
            if size < 0 or self._chunks > MAX_CHUNKS or self._chunk_at - self._body_at + size > 2 * MAX_BODY_BYTES:
                return 0
            self._chunk_at = line_end + 2 + size + 2
        return self._chunk_at - len(sent) + 1
