"""Starting a program as process 1 of namespaces of its own: `launch.py PROGRAM [ARGUMENT …]`; ends with its exit code.

util-linux' `unshare --fork` would do, but for what some versions of it exit with.
"""

import ctypes
import os
import signal
import sys

_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), what)


def main(program: list[str]) -> int:
    """Start it, and wait for its end."""
    _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID), "unshare")
    # What is mounted here is nobody else's business.
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    child = os.fork()
    if child == 0:
        _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
        os.execvp(program[0], program)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
