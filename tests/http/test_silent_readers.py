"""Clients that read nothing of their responses, so that the kernel keeps them, in the memory of the pod."""

import sys
from pathlib import Path

import pytest

from tests.http.clients import RawClient
from tests.support.service import ServiceProcess
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's table of connections")


def unread_bytes(port: int) -> int:
    """Return how much the kernel holds of what the service has sent and its clients have not taken."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text("ascii").splitlines()[1:]]
    rows = [line.split() for line in lines]
    return sum(int(row[4].partition(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}"))


def test_response__that_nobody_reads_takes_little_memory_of_the_kernel(live: ServiceProcess) -> None:
    """Without a bound, the kernel takes the whole response, or several: up to 4 MiB per connection."""
    with RawClient(live.port, receive_bytes=4096) as connection:
        connection.send_request("GET", "/openapi.json")
        until(lambda: unread_bytes(live.port) > 0)
        # The kernel looks whether there is room, then takes one more packet, of up to 64 KiB on the loopback device.
        assert max(unread_bytes(live.port) for _ in range(50)) <= 128 * 1024
        assert len(connection.answer().read()) > 2 * 128 * 1024


@pytest.mark.parametrize("target", ["/job/public", "/jobs/status", "/job/public/aaaaaaaaaaaa", "/nothing", "/ready"])
def test_response__may_not_be_stored_by_caches(live: ServiceProcess, target: str) -> None:
    """What it says depends on who asks."""
    headers = live.get(target).headers
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
