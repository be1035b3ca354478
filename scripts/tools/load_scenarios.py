"""Run stress scenarios against the service. The clients run in this process, the service runs in a child process.

    python scripts/tools/load_scenarios.py --model_dir data/onnx                          # all
    python scripts/tools/load_scenarios.py overload sigterm --model_dir data/onnx --backend openvino
    python scripts/tools/load_scenarios.py sigterm --model_dir models/whisper-base --speech en/manifest.jsonl \
        --language en

Each scenario writes `load_SCENARIO.md` and `.json` to `artifacts/`, and prints its key figures. `docs/performance.md`
describes the scenarios. `--speech` uploads whole clips of a data set (requirements-train.txt) instead of cuts from
samples/: a Whisper model should understand what it hears, because other speech costs it several tries. For the
comparison with the plain service, see `scripts/load.py --against_plain`. Linux only (/proc).
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from app.runtimes.registry import ONNX_INT8
from app.settings import BUNDLED_MODEL
from scripts.common.command import ending_cleanly
from scripts.common.machine import describe_machine
from scripts.common.report import Report, key_figures_table
from scripts.common.service_process import ServiceError
from scripts.load_testing.answers import LoadError
from scripts.load_testing.load_clips import DEFAULT_MIX
from scripts.load_testing.scenarios.common import Finding
from scripts.load_testing.scenarios.engine import engine
from scripts.load_testing.scenarios.killed_clients import killed_clients
from scripts.load_testing.scenarios.memory_growth import memory
from scripts.load_testing.scenarios.overload import overload
from scripts.load_testing.scenarios.short_beside_long import short_beside_long
from scripts.load_testing.scenarios.sigterm import sigterm
from scripts.speech.clips import DataError

SCENARIOS: dict[str, Callable[[argparse.Namespace], Finding]] = {
    scenario.__name__: scenario for scenario in (engine, short_beside_long, overload, sigterm, killed_clients, memory)
}


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"some of {', '.join(SCENARIOS)} (default: all)"
    )
    parser.add_argument(
        "--model_dir", default=os.environ.get("ASR_MODEL_DIR", str(BUNDLED_MODEL)), help="artifact folder"
    )
    parser.add_argument("--backend", default=os.environ.get("ASR_BACKEND", ONNX_INT8), help="backend of the service")
    parser.add_argument("--clips_s", default=DEFAULT_MIX, help="lengths of short clips: 2-12 or 2,5,10")
    parser.add_argument(
        "--speech", default="",
        help="data set, as for evaluate.py, whose clips of nearest length are uploaded (default: cuts from samples/)",
    )  # fmt: skip
    parser.add_argument("--language", help="ISO 639-1 code that the service is told (default: it detects it)")
    parser.add_argument("--duration_s", type=float, default=60.0, help="duration of a load")
    parser.add_argument("--rounds", type=int, default=3, help="engine, sigterm: number of rounds")
    parser.add_argument(
        "--long_file_s", type=float, default=3600.0, help="short_beside_long, memory: length of the long file"
    )
    parser.add_argument("--short_runs", type=int, default=60, help="short_beside_long: clips when idle and when loaded")
    parser.add_argument("--overload_factor", type=float, default=3.0, help="overload: arrivals / capacity")
    parser.add_argument("--deadline_s", type=float, default=10.0, help="overload: deadline of a request")
    parser.add_argument(
        "--max_queue_s", type=float,
        help="overload: limit of the queue, seconds of audio (default: that of the service)",
    )  # fmt: skip
    parser.add_argument("--kills", type=int, default=400, help="killed_clients: number of clients")
    parser.add_argument("--memory_clips", type=int, default=10_000, help="memory: number of clips")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the reports")
    arguments = parser.parse_args(words)
    unknown = set(arguments.scenarios) - SCENARIOS.keys()
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    arguments.model_dir = str(Path(arguments.model_dir).resolve())
    if arguments.speech and Path(arguments.speech).exists():
        arguments.speech = str(Path(arguments.speech).resolve())
    return arguments


def run(name: str, arguments: argparse.Namespace) -> Path:
    """Run a scenario and write its report. Returns the path of the report. Raises LoadError or ServiceError."""
    scenario = SCENARIOS[name]
    description = " ".join((scenario.__doc__ or "").split())
    print(f"\n{name}: {description}", flush=True)
    finding = scenario(arguments)
    print("\n" + "\n\n".join([key_figures_table(finding.key_figures), *finding.sections]) + "\n", flush=True)
    settings = {"scenario": description, "model": f"{Path(arguments.model_dir).name} on {arguments.backend}"}
    if arguments.speech:
        settings["clips"] = f"of {arguments.speech}"
    title = f"Load: {name.replace('_', ' ')}"
    report = Report(title, describe_machine(), settings, finding.sections, finding.figures, finding.key_figures)
    return report.write(arguments.out, f"load_{name}")


def main() -> None:
    arguments = parse_arguments()
    with ending_cleanly("load test", DataError, LoadError, ServiceError, ValueError):
        for name in arguments.scenarios or SCENARIOS:
            print(f"Report: {run(name, arguments)}")


if __name__ == "__main__":
    main()
