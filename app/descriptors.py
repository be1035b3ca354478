"""File descriptors of this process: every connection needs one, and so does every large upload."""

import resource
from pathlib import Path

MAX_DESCRIPTORS = 16_384
"""More connections than the queue has space for. Bounded because each connection takes memory."""

OPEN_DESCRIPTORS = Path("/dev/fd")
"""A folder with an entry for each open descriptor of the current process."""


def set_limit() -> int:
    """Raise the soft limit to the hard limit, at most `MAX_DESCRIPTORS`. Returns the new limit.

    The default soft limit, 1024, protects programs that call `select`; this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def count_free(limit: int) -> int:
    """How many more descriptors can be opened."""
    try:
        used = len(list(OPEN_DESCRIPTORS.iterdir())) - 1  # without the one that reads the folder
    except OSError:  # not even one is left to read the folder
        return 0
    return limit - used
