"""File descriptors of this process: every connection takes one, and so does every large upload."""

import resource
from pathlib import Path

ENOUGH = 16_384
"""More connections at a time than requests fit into the queue. A bound, because each connection takes memory."""

OPEN_DESCRIPTORS = Path("/dev/fd")
"""A folder with a name for each descriptor of the process that looks into it."""


def set_limit() -> int:
    """Set the soft limit to what the hard one allows, `ENOUGH` at most. Returns it.

    The usual soft limit, 1024, is for programs that call `select`, which this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def count_free(limit: int) -> int:
    """How many more descriptors can be opened."""
    try:
        used = len(list(OPEN_DESCRIPTORS.iterdir())) - 1  # one reads the folder
    except OSError:  # there is none to read it with
        return 0
    return limit - used
