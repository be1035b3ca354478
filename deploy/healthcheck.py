"""Is the service of this container ready? Exit status 0 if it is, else 1 with the reason; for Docker's HEALTHCHECK."""

import http.client
import os
import sys

TIMEOUT_S = 4.0
"""Below the timeout of HEALTHCHECK, so that the reason is seen and not a kill."""
DEFAULT_PORT = 8000
ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing is bound here


def main() -> int:
    """Ask `/readyz` where `ASR_HOST` and `ASR_PORT` say that the service listens."""
    host = os.environ.get("ASR_HOST", "")
    port = os.environ.get("ASR_PORT", "").strip()
    # Empty, or a service link of Kubernetes: the service takes its default too.
    port_number = int(port) if port.isdecimal() else DEFAULT_PORT
    connection = http.client.HTTPConnection(ANY_ADDRESS.get(host, host), port_number, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        print(answer.status, answer.read(2000).decode(errors="replace"))
    except OSError as error:
        print(error)
        return 1
    return 0 if answer.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
