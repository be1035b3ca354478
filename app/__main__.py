"""`python -m app`: run the service with the settings from the environment."""

import sys

from pydantic import ValidationError

from app.server import serve
from app.settings import Settings, problems


def main() -> int:
    """Returns the exit status: 2 for invalid settings."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(*problems(error), sep="\n", file=sys.stderr)
        return 2
    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
