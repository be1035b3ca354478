"""Helpers of the scenarios: their findings, starting the service, and a load of users."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.common.report import KeyFigure
from scripts.common.service_process import ServiceProcess, dikte_on
from scripts.load_testing.client import Exchange, closed_loop
from scripts.load_testing.load_clips import Clip

USERS = 10
SETTLE_SHARE = 0.2
"""Share of a load, at its beginning, that does not count."""


@dataclass(frozen=True)
class Finding:
    """The result of a scenario. sections: Markdown, below the key figures. figures: for JSON."""

    key_figures: list[KeyFigure]
    sections: list[str]
    figures: dict[str, Any] = field(default_factory=dict)


def start(arguments: argparse.Namespace, **settings: object) -> ServiceProcess:
    """The service on the model and backend of the command line. settings: `ASR_*` variables, without the prefix."""
    if arguments.language:
        settings = {"language": arguments.language} | settings
    return dikte_on(
        arguments.backend,
        arguments.model_dir,
        {f"ASR_{name.upper()}": str(value) for name, value in settings.items()},
    )


async def load_for(
    url: str, clips: Sequence[Clip], texts: Mapping[str, str], users: int, seconds: float
) -> tuple[tuple[float, float], list[Exchange]]:
    """Run a load of users for `seconds`.

    Returns the time window that counts, in seconds since the epoch, and all exchanges.
    """
    end_s = time.time() + seconds
    exchanges = await closed_loop(url, clips, texts, users, lambda _: time.time() < end_s)
    return (end_s - (1 - SETTLE_SHARE) * seconds, end_s), exchanges
