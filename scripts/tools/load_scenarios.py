"""What a service has to stand, each shown by a scenario of its own: clients in this process, the service in another.

    python scripts/tools/load_scenarios.py --model_dir data/onnx                          # all
    python scripts/tools/load_scenarios.py overload sigterm --model_dir data/onnx --backend openvino

Each writes `load_SCENARIO.md` and `.json` into `artifacts/` and prints what had to be shown. `docs/performance.md`
tells what they do. Against the plain service: `scripts/load.py --against_plain`. Linux only (/proc).
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from app.runtimes.registry import ONNX_INT8
from app.settings import BUNDLED_MODEL
from scripts.common.command import ending_cleanly
from scripts.common.machine import describe_machine
from scripts.load_testing.answers import LoadError
from scripts.load_testing.clips import DEFAULT_MIX
from scripts.load_testing.report import Report, goals_section
from scripts.load_testing.scenarios.common import Finding
from scripts.load_testing.scenarios.engine import engine
from scripts.load_testing.scenarios.killed_clients import killed_clients
from scripts.load_testing.scenarios.memory import memory
from scripts.load_testing.scenarios.overload import overload
from scripts.load_testing.scenarios.short_beside_long import short_beside_long
from scripts.load_testing.scenarios.sigterm import sigterm

SCENARIOS: dict[str, Callable[[argparse.Namespace], Finding]] = {
    scenario.__name__: scenario for scenario in (engine, short_beside_long, overload, sigterm, killed_clients, memory)
}


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument(
        "--model_dir", default=os.environ.get("ASR_MODEL_DIR", str(BUNDLED_MODEL)), help="artifact folder"
    )
    parser.add_argument("--backend", default=os.environ.get("ASR_BACKEND", ONNX_INT8), help="engine of the service")
    parser.add_argument("--clips_s", default=DEFAULT_MIX, help="lengths of short clips: 2-12 or 2,5,10")
    parser.add_argument("--duration_s", type=float, default=60.0, help="of a load")
    parser.add_argument("--rounds", type=int, default=3, help="of engine and sigterm")
    parser.add_argument("--long_file_s", type=float, default=3600.0, help="of short_beside_long and memory")
    parser.add_argument("--short_runs", type=int, default=60, help="of short_beside_long: clips idle and beside")
    parser.add_argument("--overload_factor", type=float, default=3.0, help="of overload: arrivals / capacity")
    parser.add_argument("--deadline_s", type=float, default=10.0, help="of overload")
    parser.add_argument(
        "--max_queue_s", type=float,
        help="of overload: bound of the queue, seconds of sound (default: the service's own)",
    )  # fmt: skip
    parser.add_argument("--kills", type=int, default=400, help="of killed_clients")
    parser.add_argument("--memory_clips", type=int, default=10_000, help="of memory")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the reports")
    arguments = parser.parse_args(words)
    unknown = set(arguments.scenarios) - SCENARIOS.keys()
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    arguments.model_dir = str(Path(arguments.model_dir).resolve())
    return arguments


def run(name: str, arguments: argparse.Namespace) -> Path:
    """Run a scenario and write its report. Raises LoadError."""
    scenario = SCENARIOS[name]
    description = " ".join((scenario.__doc__ or "").split())
    print(f"\n{name}: {description}", flush=True)
    finding = scenario(arguments)
    goals = goals_section(finding.goals)
    sections = [description, goals, *finding.sections]
    print("\n" + "\n\n".join([goals, *finding.sections]) + "\n", flush=True)
    settings = {"model": f"{Path(arguments.model_dir).name} on {arguments.backend}"}
    figures = finding.figures | {"goals": [asdict(goal) | {"reached": goal.reached} for goal in finding.goals]}
    title = f"Load: {name.replace('_', ' ')}"
    return Report(title, describe_machine(), settings, sections, figures).write(arguments.out, f"load_{name}")


def main() -> None:
    arguments = parse_arguments()
    with ending_cleanly("load test", LoadError, ValueError):
        for name in arguments.scenarios or SCENARIOS:
            print(f"Report: {run(name, arguments)}")


if __name__ == "__main__":
    main()
