"""Run a program as process 1 of new namespaces, and exit with its exit code: `launch.py PROGRAM [ARGUMENT …]`.

It replaces util-linux' `unshare --fork`, because some versions of that do not pass on the exit code.
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
    """Start the program, wait for its end, and return its exit code."""
    _check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID), "unshare")
    # Keep mounts out of the parent's namespace.
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    child = os.fork()
    if child == 0:
        _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
        os.execvp(program[0], program)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
