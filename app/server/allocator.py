"""How the C library's allocator gives memory back to the system."""

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
"""`mallopt`'s numbers of the settings: https://man7.org/linux/man-pages/man3/mallopt.3.html."""

_LARGE_BLOCK_BYTES = 32 * 1024


def keep_one_small_heap() -> None:
    """Have all threads allocate from one heap, and have blocks of 32 KiB and more returned to the system when freed.

    Responses of the API server, and bodies, are such blocks. By default glibc raises its threshold to the largest block
    that was freed, and gives each thread a heap of its own, up to 8 for each core. Each of these then keeps the most
    that its threads have ever used at once: crowds of large requests took 10 to 30 MiB more, for good
    (docs/performance.md). One heap costs no time, because the interpreter runs one thread at a time. Where the C
    library has no `mallopt`, nothing is changed. Processes that are forked keep the settings.
    """
    with suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
        set_option(_M_ARENA_MAX, 1)
