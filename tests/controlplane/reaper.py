"""Ends what a process that has ended, however it did, can't end any more.

Reads `+<pid>` and `-<pid>` lines from its input, whose other end is that process. When the input ends, it kills the
processes that were added and not taken away, and removes the folder that it was given.
"""

import contextlib
import os
import shutil
import signal
import sys

pids: set[int] = set()
for line in sys.stdin:
    (pids.add if line[0] == "+" else pids.discard)(int(line[1:]))
for pid in pids:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
shutil.rmtree(sys.argv[1], ignore_errors=True)
