"""What the allocator does with memory that is freed: keep it for the next clip, or give it back to the system.

A clip of 10 s needs hundreds of megabytes for the tensors between its layers, one after the other. glibc takes large
blocks from the kernel one by one and gives each back when it is freed, so every tensor is paid for again with a page
fault for each 4 KiB. An arena of ONNX Runtime's own would not do that, but never gives anything back. So freed memory
is kept (`keep_freed_memory`, by the engines), and given back when there is nothing to compute (`return_freed_memory`).

Other C libraries than glibc keep memory as they like; there, both functions do nothing.
"""

import ctypes
from functools import cache

MIB = 2**20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from glibc's malloc.h."""
KEPT_BYTES = 1024 * MIB
"""So much freed memory is kept at the end of the heap, at most: more than a window of wav2vec2-base needs."""
LARGE_BYTES = 128 * MIB
"""Blocks from this size on are taken from the kernel one by one all the same: half an hour of sound and more, and no
tensor of a window of 20 s."""
ARENAS = 1
"""Heaps to take memory from. With one for each thread, each would keep what only one of them needs at a time."""


def keep_freed_memory() -> None:
    """Keep what is freed from now on for what is allocated next, in the whole process.

    To be called early: threads that allocated before have heaps of their own, which glibc goes on to use.
    """
    libc = _glibc()
    if libc is not None:
        # A setting that is refused leaves the allocator as it was: slower, not wrong.
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_ARENA_MAX, ARENAS)


def return_freed_memory() -> bool:
    """Give what is free back to the system; whether there was any. What is allocated next pays for its pages again."""
    libc = _glibc()
    return libc is not None and libc.malloc_trim(0) == 1


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library of this process if it is glibc."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no library of this process
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
