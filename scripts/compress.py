"""Make smaller models of a trained CTC model, the teacher, and measure which of them are worth it: one command.

    python scripts/compress.py --teacher models/checkpoint --dataset_name data/train/manifest.jsonl --augment \\
      --eval_manifest clean=data/seen/manifest.jsonl noisy=data/noisy/manifest.jsonl --out models/front --budget_h 8
    python scripts/compress.py --out models/front --pick "wer<=+0.5" --name tr-fast
    ASR_MODEL_DIR=models/tr-fast make serve

Stages: `probe` times shapes before any training, `train` trains students, `export` makes and proves an artifact of
each, `evaluate` counts errors, `measure` times all in turns, `report` writes `front.md`, `front.json` and `front.png`.
After an interruption, the same command goes on where it was; results are kept by the hash of their inputs. `--stages`
runs some of them, so that one machine can train, with a GPU, and another one measure: copy the folder. A study
remembers its options: a later command needs only `--out` and what is different (docs/compression.md).
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

from app.artifacts import ArtifactError, read_manifest, write_manifest
from scripts.common.arguments import count, positive, wer_limit
from scripts.common.command import ending_cleanly
from scripts.compression.front import FrontPoint, parse_rule, pick
from scripts.compression.stage_folders import RESULT, read_json
from scripts.compression.students_of_teacher import StudyError
from scripts.compression.study import Study
from scripts.compression.study_options import ROW_GROUPS, STAGES, StudyOptions
from scripts.compression.study_state import StudyState
from scripts.compression.train_stage import train_students
from scripts.speech.data import DataError
from scripts.training.ctc_objective import CtcOptions
from scripts.training.distillation import DistillationOptions
from scripts.training.training_config import Precision, TrainingConfig

MODELS = Path("models")
NOT_REMEMBERED = frozenset({"out", "stages", "budget_h", "run_h", "jobs", "num_workers", "pick", "only_picks", "name"})
"""Options of one run. All others belong to the study."""
TRAINING = (
    *("train_percent", "eval_percent", "eval_dataset_name", "audio_column", "text_column", "batch_s"),
    *("gradient_accumulation_steps", "learning_rate", "optimizer", "warmup_steps", "min_duration_s", "max_duration_s"),
    *("augment", "join", "precision", "eval_steps", "logging_steps", "num_workers"),
)
"""The fields of `TrainingConfig` that are options here."""
DISTILLATION = ("temperature", "alpha", "hidden_weight", "blank_margin")
CTC = ("language", "dropout")
DEFAULT_SET = "test"


def named_set(text: str) -> tuple[str, str]:
    """Parse `NAME=DATA` or `DATA`, whose name is then "test"."""
    name, equals, data = text.partition("=")
    return (name, data) if equals and name and "/" not in name else (DEFAULT_SET, text)


def defaults() -> dict[str, Any]:
    """The defaults of the options that `train.py` has too."""
    found: dict[str, Any] = {}
    for options, names in ((TrainingConfig, TRAINING), (DistillationOptions, DISTILLATION), (CtcOptions, CTC)):
        found |= {field.name: field.default for field in fields(options) if field.name in names}
    return {name: value for name, value in found.items() if value is not MISSING}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(**defaults())
    add = parser.add_argument
    own: dict[str, Any] = {field.name: field.default for field in fields(StudyOptions)}
    add("--out", type=Path, required=True, help="folder of the study")
    add("--teacher", help="checkpoint folder or hub id of a trained CTC model")
    add("--dataset_name", help="what to train on: hub id, local folder in the hub's formats, or manifest.jsonl")
    add(
        "--eval_manifest",
        type=named_set,
        nargs="+",
        action="extend",
        metavar="[NAME=]DATA",
        help="sets to count errors on, which no training uses; the first decides",
    )
    add("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="stages to run now (default: all)")
    add("--budget_h", type=positive, help="hours of wall time that all runs of the study may take together")
    add("--run_h", type=positive, help="hours of wall time that this run may take, such as on a machine that is lent")
    add("--jobs", type=count, default=1, help="trainings at once")
    add(
        "--pick", metavar="RULE", help='copy the fastest proven point with "wer<=+0.5", "latency_ms<=60", "size_mb<=30"'
    )
    add("--name", help="with --pick: folder below models/ (default: that of the study and the point)")

    group = parser.add_argument_group("points")
    add = group.add_argument
    add(
        "--shapes", nargs="*", default=[], help="shapes to train, such as l6-c256 (default: a grid, of which some stay)"
    )
    add("--focus", default="", help="the shape that has the controls (default: the largest that is twice as fast)")
    add("--most_shapes", type=count, default=own["most_shapes"], help="shapes to train (default: %(default)s)")
    add(
        "--rows", nargs="*", choices=ROW_GROUPS, default=list(ROW_GROUPS), help="rows besides the shapes (default: all)"
    )
    add("--sparsities", type=float, nargs="+", default=list(own["sparsities"]), help="shares of zeros")
    add("--bits", type=int, nargs="+", choices=(4, 7, 8), default=list(own["bits"]), help="bits of weights")
    add(
        "--reconstruct",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="students begin with weights that least squares on speech solve; otherwise with those of the teacher",
    )
    add("--seeds", type=int, nargs="*", default=list(own["seeds"]), help="seeds of the repetitions")

    group = parser.add_argument_group("training")
    add = group.add_argument
    add("--steps", type=count, default=own["steps"], help="steps of a full training (default: %(default)s)")
    add("--tail_share", type=float, default=own["tail_share"], help="share for one that goes on from another")
    add(
        "--pace",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with --budget_h or --run_h, measure the time of a step first, and plan the steps by it (default: yes)",
    )
    add("--tuned", metavar="STUDY.db", help="take learning rate and weights from the best trial of scripts/tune.py")
    add("--learning_rate", type=float, help="peak (default: 1e-4)")
    for name in DISTILLATION:
        add(f"--{name}", type=int if name == "blank_margin" else float, help="as in train.py")
    for name in ("train_percent", "eval_percent", "batch_s", "min_duration_s", "max_duration_s", "join", "dropout"):
        add(f"--{name}", type=float, help="as in train.py")
    for name in ("gradient_accumulation_steps", "warmup_steps", "eval_steps", "logging_steps", "num_workers"):
        add(f"--{name}", type=int, help="as in train.py")
    for name in ("eval_dataset_name", "audio_column", "text_column", "language"):
        add(f"--{name}", help="as in train.py")
    add("--optimizer", choices=("adamw", "muon"), help="as in train.py")
    add("--precision", choices=get_args(Precision), help="as in train.py")
    add("--augment", action=argparse.BooleanOptionalAction, help="as in train.py")

    group = parser.add_argument_group("artifacts and measurements")
    add = group.add_argument
    add("--openvino", action=argparse.BooleanOptionalAction, default=False, help="make and measure OpenVINO INT8 too")
    add("--proof_clips", type=count, default=own["proof_clips"], help="clips that each export is proven on")
    add("--eval_limit", type=count, help="use only the first EVAL_LIMIT clips of each set")
    add("--max_reference_wer", type=wer_limit, default=own["max_reference_wer"], help="as in export.py")
    add("--runs", type=count, default=own["runs"], help="measured calls of each engine")
    add("--warm_up", type=count, default=own["warm_up"], help="calls before these that do not count")
    add(
        "--threads",
        type=count,
        default=len(os.sched_getaffinity(0)),
        help="threads of one call (default: one per core)",
    )
    add("--length_s", type=positive, default=own["length_s"], help="clip of the latency measurement, in seconds")
    return parser


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments; those of the study that are not given are the remembered ones.

    `only_picks`: with --pick and without --teacher, the report that exists is read, and no stage runs.
    """
    parser = make_parser()
    given = parser.parse_args(argv)
    out = given.out
    remembered = StudyState(out).get("arguments", {})
    sets = remembered.pop("eval_manifest", None)
    parser.set_defaults(**{name: value for name, value in remembered.items() if name not in NOT_REMEMBERED})
    arguments = parser.parse_args(argv)
    if arguments.eval_manifest is None:
        arguments.eval_manifest = [tuple(one) for one in sets or []]
    if arguments.pick is not None:
        try:
            parse_rule(arguments.pick)
        except ValueError as error:
            parser.error(f"--pick: {error}")
    if any(not 0 < share < 1 for share in arguments.sparsities):
        parser.error("--sparsities are shares of zeros, between 0 and 1")
    if not 0 < arguments.tail_share <= 1:
        parser.error("--tail_share is a share of the steps, above 0 and at most 1")
    names = [name for name, _ in arguments.eval_manifest]
    if len(set(names)) < len(names):
        parser.error("give each set its own name: --eval_manifest clean=a.jsonl noisy=b.jsonl")
    arguments.only_picks = bool(given.pick and given.teacher is None and (out / "front.json").is_file())
    if arguments.teacher is None and not arguments.only_picks:
        parser.error("--teacher is needed: a trained CTC checkpoint")
    return arguments


def options_of(arguments: argparse.Namespace) -> StudyOptions:
    """The options of the study. Raises StudyError if a stage lacks its data."""
    values = vars(arguments)
    stages = tuple(stage for stage in STAGES if stage in arguments.stages)
    if "train" in stages and arguments.dataset_name is None:
        raise StudyError("the stage train needs --dataset_name")
    if {"export", "evaluate"} & set(stages) and not arguments.eval_manifest:
        raise StudyError("the stages export and evaluate need --eval_manifest")
    training = {name: values[name] for name in TRAINING}
    distillation = {name: values[name] for name in DISTILLATION}
    if arguments.tuned is not None:
        from scripts.compression.tuning import best_of

        for name, value in best_of(Path(arguments.tuned)).items():
            (training if name in training else distillation)[name] = value
    own: dict[str, Any] = {
        name: tuple(values[name]) if isinstance(values[name], list) else values[name]
        for name in (field.name for field in fields(StudyOptions))
        if name in values and name not in ("stages", "eval_sets", "training", "distillation", "ctc")
    }
    own["dataset_name"] = arguments.dataset_name or ""
    return StudyOptions(
        **own,
        stages=stages,
        measure_pace=arguments.pace,
        eval_sets=dict(arguments.eval_manifest),
        training=training,
        distillation=distillation,
        ctc={"language": arguments.language, "dropout": arguments.dropout},
    )


def run(study: Study) -> None:
    """Run the stages that are wanted, in their order. The modules of some need packages that the others do not."""
    stages, state = study.options.stages, study.state
    if "export" in stages:
        from scripts.compression.export_stage import export_points  # needs ONNX Runtime and optimum
        from scripts.export import export
    if "probe" in stages:
        from scripts.compression.probe_stage import probe_shapes  # the same

        with state.spending("probe"):
            probe_shapes(study)
    if set(stages) == {"probe"}:
        return
    study.choose_shapes()
    for points in (study.plan.points[:1], study.plan.points):  # first the teacher, whose time says what the others take
        if points is study.plan.points and "train" in stages:
            with state.spending("train"):
                train_students(study)
        if "export" in stages:
            with state.spending("export"):
                export_points(study, points, export)
        if "evaluate" in stages:
            from scripts.compression.evaluate_stage import evaluate_points  # needs ONNX Runtime

            with state.spending("evaluate"):
                evaluate_points(study, points)
    if "measure" in stages:
        from scripts.compression.measure_stage import measure_points  # needs ONNX Runtime

        with state.spending("measure"):
            measure_points(study)


def report(study: Study) -> Path:
    """Write the report."""
    from scripts.compression.front_report import write_front  # needs matplotlib

    study.choose_shapes()
    return write_front(study)


def read_points(out: Path) -> list[FrontPoint]:
    """The points in `front.json`. Raises StudyError if there is no report."""
    try:
        return [FrontPoint.of_json(point) for point in read_json(out / "front.json")["points"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{out} has no report that can be read: run the stage report first ({error})") from error


def copy_point(out: Path, point: FrontPoint, name: str | None) -> Path:
    """Copy the artifact of a point to `models/NAME`, and name it so: the service shows the name in the manifest.

    Raises StudyError if that folder exists already.
    """
    target = MODELS / (name or f"{out.resolve().name}-{point.name}")
    if target.exists():
        raise StudyError(f"{target} exists already: use another --name, or delete it")
    if not (out / point.artifact).is_dir():
        raise StudyError(f"the artifact of {point.name} is not in {out}: run the stages export and report again")
    beside = target.with_name(f"{target.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(out / point.artifact, beside, ignore=shutil.ignore_patterns(RESULT))
    write_manifest(beside, read_manifest(beside) | {"name": target.name})
    beside.replace(target)
    return target


def pick_point(out: Path, rule: str, name: str | None) -> None:
    """Copy the point that a rule picks, and print what it is."""
    point = pick(read_points(out), parse_rule(rule))
    target = copy_point(out, point, name)
    assert point.first and point.speed
    print(
        f"{point.name}: {1000 * point.speed.p50_s:.1f} ms, {point.size_bytes / 1e6:.1f} MB, WER {point.first.wer}, "
        f"increase {point.first.increase.points()} points"
    )
    print(f"Serve it: ASR_MODEL_DIR={target} make serve")


def remembered(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that belong to the study, as JSON has them."""
    return {name: value for name, value in vars(arguments).items() if name not in NOT_REMEMBERED}


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(None if argv is None else list(argv))
    with ending_cleanly("compress", StudyError, DataError, ArtifactError):
        if arguments.only_picks:
            pick_point(arguments.out, arguments.pick, arguments.name)
            return
        study = Study(options_of(arguments))
        study.state.set(arguments=remembered(arguments))
        run(study)
        if "report" in study.options.stages:
            print(f"Report: {report(study)}")
        if arguments.pick:
            pick_point(arguments.out, arguments.pick, arguments.name)


if __name__ == "__main__":
    main()
