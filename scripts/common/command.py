"""Clean exit of commands that start child processes: the children end with the command, whatever stops it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM, by the convention of shells: 128 plus the number of the signal."""


@contextmanager
def ending_cleanly(what: str, *failures: type[Exception]) -> Iterator[None]:
    """Exit through every open `with` block, on SIGTERM as on Ctrl-C.

    failures: exceptions that end the command with the message "`what` failed: ..." instead of a traceback.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    except failures as error:
        sys.exit(f"{what} failed: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
