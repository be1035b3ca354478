"""Docker's HEALTHCHECK: exit status 0 if the service of this container is ready, else 1 with the reason."""

import http.client
import os
import sys

TIMEOUT_S = 4.0
"""Shorter than the timeout of HEALTHCHECK, so that this program can print the reason before it is killed."""
DEFAULT_PORT = 8000
ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing is bound here


def main() -> int:
    """Request `/readyz` at `ASR_HOST` and `ASR_PORT`. Returns the exit status."""
    host = os.environ.get("ASR_HOST", "")
    port = os.environ.get("ASR_PORT", "").strip()
    # If the port is empty, or a service link of Kubernetes, the service uses its default too.
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
