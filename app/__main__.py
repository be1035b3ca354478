"""`python -m app`: the service, by the settings in the environment."""

import sys

from pydantic import ValidationError

from app.server import serve
from app.settings import Settings


def main() -> int:
    """Returns the exit status: 2 for settings that make no sense."""
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"])
            print(f"ASR_{name.upper()}: {problem['msg']}" if name else problem["msg"], file=sys.stderr)
        return 2
    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
