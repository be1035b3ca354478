"""Make the baselines that Dikte is compared with: models that common tools make from the same checkpoint.

    python scripts/tools/baselines.py --checkpoint_dir cahya/wav2vec2-base-turkish --out artifacts/baselines

They are cached in `--out`, in a folder whose name is a hash of the weights and the versions of the tools.
`scripts/benchmark.py` and `scripts/load.py --against_plain` run this command themselves.
"""

import argparse
import json
import sys
from pathlib import Path

from app.artifacts import ArtifactError
from app.models import find_model_folder, open_model
from app.runtimes.registry import REFERENCE
from scripts.benchmarking.baselines import REPORT_NAME, make_baselines, source_of
from scripts.benchmarking.benches import BENCHES, bench_for


def main() -> None:
    keys = [baseline.key for bench in BENCHES for baseline in bench.baselines]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", required=True, help="checkpoint folder or hub id")
    parser.add_argument("--out", type=Path, default=Path("artifacts/baselines"), help="folder of the cache")
    parser.add_argument("--calibration", type=Path, default=Path("samples"), help="folder of clips to calibrate with")
    parser.add_argument(
        "--only", nargs="+", choices=keys, default=keys, help="make only these baselines; each family has its own"
    )
    arguments = parser.parse_args()
    try:
        checkpoint = find_model_folder(arguments.checkpoint_dir, REFERENCE)
        baselines = bench_for(open_model(checkpoint).family).baselines
        source = source_of(checkpoint, arguments.out, arguments.calibration)
        failed = make_baselines(source, baselines, arguments.only)
    except (ArtifactError, FileNotFoundError) as error:
        sys.exit(str(error))
    report = source.folder / REPORT_NAME
    report.write_text(json.dumps({"failed": failed}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Baselines: {source.folder}")


if __name__ == "__main__":
    main()
