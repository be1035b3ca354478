"""What the text of an environment variable means."""

import re


def entries(text: str) -> tuple[str, ...]:
    """The comma-separated entries, stripped of spaces; none if the text is empty."""
    return tuple(entry.strip() for entry in text.split(",")) if text else ()


def is_service_link(port: object) -> bool:
    """Whether ASR_PORT is what Kubernetes sets for a Service named `asr`, such as `tcp://10.0.0.1:8000`."""
    return isinstance(port, str) and re.fullmatch(r"(tcp|udp|sctp)://\S+:\d+", port) is not None


def can_be_sent(key: str) -> bool:
    """Whether a request header can carry the key: it must be non-empty visible ASCII."""
    return re.fullmatch("[!-~]+", key) is not None
