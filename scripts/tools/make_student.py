"""Make a student of a CTC checkpoint, which begins as near to it as least squares on some speech get.

    python scripts/tools/make_student.py --teacher models/checkpoint --shape l6-f2048-c256 \\
      --dataset_name data/train/manifest.jsonl --out models/student
    python scripts/train.py --model_name models/student --teacher models/checkpoint --dataset_name ...

`--shape l6-f2048-c256` has 6 layers, 2048 feed-forward units and at most 256 channels in a convolution. Without
`--dataset_name`, the parts are chosen by their weights, as `train.py --keep_layers` does. With `--cut`, weights
are only cut out.
"""

import argparse
import sys
from pathlib import Path

from app.artifacts import ArtifactError
from scripts.speech.data import DataError
from scripts.speech.eval_sets import load_eval_set
from scripts.training.ctc_objective import DEFAULT_LANGUAGE
from scripts.training.student_checkpoint import CLIPS, write_student
from scripts.training.students import Shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--teacher", required=True, help="checkpoint folder or hub id of a wav2vec2 or HuBERT CTC model"
    )
    parser.add_argument("--shape", type=Shape.parse, required=True, help="such as l6-f2048-c256; each part is optional")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to make")
    parser.add_argument("--dataset_name", help="speech with texts: manifest, folder or hub id")
    parser.add_argument("--split", help="its split (default: train)")
    parser.add_argument("--audio_column", help="audio column (default: detected)")
    parser.add_argument("--text_column", help="text column (default: detected)")
    parser.add_argument("--clips", type=int, default=CLIPS, help="random clips to use (default: %(default)s)")
    parser.add_argument("--cut", action="store_true", help="do not solve the weights anew")
    parser.add_argument("--language", default=DEFAULT_LANGUAGE, help="ISO 639-1 code of the texts")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.clips < 1:
        parser.error("--clips is at least 1")
    try:
        rows = None
        if arguments.dataset_name:
            columns = arguments.audio_column, arguments.text_column
            rows = load_eval_set(arguments.dataset_name, None, arguments.split or "train", *columns)
        parameters = write_student(
            arguments.teacher,
            arguments.shape,
            arguments.out,
            rows,
            reconstruct=not arguments.cut,
            clips=arguments.clips,
            language=arguments.language,
            seed=arguments.seed,
        )
    except (ArtifactError, DataError, ValueError) as error:
        sys.exit(f"{arguments.teacher}: {error}")
    print(f"Student {arguments.shape.label}, {parameters / 1e6:.1f} M parameters: {arguments.out}")


if __name__ == "__main__":
    main()
