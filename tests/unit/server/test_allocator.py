"""The C library's allocator."""

import platform
import subprocess
import sys

import pytest

from tests.support.waiting import DEADLINE_SECONDS

PROGRAM = """
import sys, threading
if sys.argv[1] == "set":
    from app.server.allocator import keep_one_small_heap
    keep_one_small_heap()
bytes(2**20)  # freed: glibc would raise its threshold now

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])

def read(done=[threading.Barrier(9)]):
    blocks = [b"x" * 2**17 for _ in range(8)]
    rest = bytearray(40_000)
    del blocks
    done[0].wait()
    done[0].wait()

before = resident()
barrier = read.__defaults__[0][0]
for _ in range(8):
    threading.Thread(target=read, daemon=True).start()
barrier.wait()
print(resident() - before)
barrier.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_keep_one_small_heap__keeps_threads_from_hoarding_what_they_freed() -> None:
    """Eight threads have each freed 1 MiB."""

    def run(how: str) -> int:
        command = [sys.executable, "-c", PROGRAM, how]
        return int(subprocess.run(command, capture_output=True, check=True, timeout=DEADLINE_SECONDS).stdout)

    assert run("default") > 4000
    assert run("set") < 3000
