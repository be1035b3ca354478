"""Controls what the allocator does with freed memory: keep it for the next clip, or return it to the system.

A clip of 10 s needs hundreds of megabytes for the tensors between its layers, one after the other. glibc takes each
large block from the kernel separately and returns it when it is freed, so every tensor costs a page fault per 4 KiB
again. An arena of ONNX Runtime would avoid that, but it never returns memory. So the engines keep freed memory
(`keep_freed_memory`), and the service returns it when there is nothing to compute (`return_freed_memory`).

With other C libraries than glibc, both functions do nothing.
"""

import ctypes
from functools import cache

MIB = 2**20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from glibc's malloc.h."""
KEPT_BYTES = 1024 * MIB
"""Most freed memory that is kept at the end of the heap: more than a window of wav2vec2-base needs."""
LARGE_BYTES = 128 * MIB
"""Blocks of at least this size still come from the kernel one by one: half an hour of audio and more, but no tensor of
a window of 20 s."""
ARENAS = 1
"""Number of heaps. With one per thread, each would keep memory that only one of them needs at a time."""


def keep_freed_memory() -> None:
    """Keep memory that is freed from now on for later allocations, in the whole process.

    Call it early: threads that have already allocated have their own heaps, and glibc goes on using them.
    """
    libc = _glibc()
    if libc is not None:
        # If glibc rejects a setting, the allocator is slower but still correct.
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_ARENA_MAX, ARENAS)


def return_freed_memory() -> bool:
    """Return free memory to the system. Returns whether there was any. Later allocations pay for their pages again."""
    libc = _glibc()
    return libc is not None and libc.malloc_trim(0) == 1


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library of this process; None if it is not glibc."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
