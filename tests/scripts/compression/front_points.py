"""Points with figures, for the tests of the front and its report."""

from typing import Any

from scripts.compression.front import FrontPoint, OnSet, Rate, Speed


def rate(value: float) -> Rate:
    return Rate(value, value - 0.01, value + 0.01)


def point(name: str, time_s: float, wer: float, size_mb: float = 10.0, **changes: Any) -> FrontPoint:
    """A proven point; the teacher has a WER of 10 %."""
    figures = OnSet(100, rate(wer), rate(wer / 4), rate(wer - 0.1), 0.02, 1)
    values: dict[str, Any] = {
        "role": "teacher" if name == "teacher" else "candidate",
        "what": f"what {name} is",
        "artifact": f"artifact/{name}-0",
        "unproven": None,
        "weight_bits": 7,
        "parameters": 1000,
        "size_bytes": int(size_mb * 1e6),
        "gzip_bytes": int(size_mb * 9e5),
        "speed": Speed(time_s, time_s / 100, time_s, time_s * 1.1, 2**20),
        "sets": {"clean": figures},
    }
    return FrontPoint(name, **(values | changes))


TEACHER = point("teacher", 0.100, 0.100, 40.0)
POINTS = [
    TEACHER,
    point("exact", 0.090, 0.095, 35.0),
    point("near", 0.050, 0.104, 20.0),
    point("small", 0.060, 0.105, 15.0),
    point("fast", 0.020, 0.140, 10.0),
    point("unproven", 0.010, 0.101, 5.0, unproven="wer_increase"),
]
