"""Bytes that nobody can predict."""

import subprocess
import sys

import pytest

from app.common.random_bytes import random_bytes, random_hex
from tests.support.waiting import DEADLINE_SECONDS


@pytest.mark.parametrize("count", [0, 1, 8, 16, 4095, 4096, 4097, 10_000])
def test_random_bytes__returns_as_many_as_asked_for(count: int) -> None:
    assert len(random_bytes(count)) == count


def test_random_bytes__never_returns_the_same_twice() -> None:
    """Also across the pieces in which they are drawn."""
    drawn = [random_bytes(16) for _ in range(10_000)]
    assert len(set(drawn)) == len(drawn)
    assert len(random_hex(16)) == 32


FORKS = """
import os
from app.common.random_bytes import random_bytes
random_bytes(1)
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, random_bytes(64))
    os._exit(0)
print(os.read(reader, 64).hex(), random_bytes(64).hex())
"""


def test_random_bytes__differ_between_a_process_and_its_fork() -> None:
    """Both would else hand out the rest of what was drawn before the fork."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    theirs, ours = ended.stdout.split()
    assert len(theirs) == len(ours) == 128
    assert theirs != ours
