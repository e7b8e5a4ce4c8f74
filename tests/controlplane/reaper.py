"""Ends the processes of a process that has ended, however it ended.

Reads `+<pid>` and `-<pid>` lines from standard input, whose other end that process holds. At the end of the input, it
kills the processes that were added and not removed, and removes the folder given as its argument.
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
