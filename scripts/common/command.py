"""How a command that starts processes of its own ends: whatever stops it, they are ended too."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM, as shells have them."""


@contextmanager
def ending_cleanly(what: str, *failures: type[Exception]) -> Iterator[None]:
    """Leave by way of every `with`, on SIGTERM as on Ctrl-C. `failures` are told in a line: "`what` failed: ..."."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    except failures as error:
        sys.exit(f"{what} failed: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
