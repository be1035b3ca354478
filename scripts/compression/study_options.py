"""The options of a study, as `scripts/compress.py` takes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

StageName = Literal["probe", "train", "export", "evaluate", "measure", "report"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""The stages, in their order."""
RowGroup = Literal["controls", "seeds", "quantization", "pruning"]
ROW_GROUPS: tuple[RowGroup, ...] = get_args(RowGroup)
"""The rows of the report besides the candidates."""


@dataclass(frozen=True)
class StudyOptions:
    """The options of a study.

    out: its folder. teacher: checkpoint folder or hub id. dataset_name: what to train on. eval_sets: name -> manifest,
    folder or hub id; the first decides. stages: those to run now. budget_h: hours that all runs together may take; None
    for no limit. run_h: hours that this run may take. jobs: trainings at once.

    shapes: labels of the students; empty for a grid that follows from the teacher. focus: label of the shape that has
    the controls; empty to choose it by time. most_shapes: number of shapes that are trained. rows: groups of rows
    besides the candidates. sparsities: shares of zeros. bits: bits of weights for quantization in training. seeds: of
    the repetitions. reconstruct: solve the first weights of the students by least squares; otherwise they are cut out.

    steps: of a full training. tail_share: the share of them that a training takes which goes on from another one.
    measure_pace: measure the time of a step before the steps are planned, if there is a budget.

    openvino: make and measure INT8 files of OpenVINO too. proof_clips: clips of the first set that each export is
    proven on. eval_limit: clips of each set that count, None for all. runs, warm_up, threads, length_s: of the latency
    measurement; length_s is the clip, in seconds. training: fields of `TrainingConfig` that all trainings share;
    distillation: fields of `DistillationOptions`; others, such as `language`, are of `CtcOptions`: ctc.
    """

    out: Path
    teacher: str
    dataset_name: str
    eval_sets: Mapping[str, str]
    training: Mapping[str, Any]
    distillation: Mapping[str, Any]
    ctc: Mapping[str, Any]
    stages: tuple[StageName, ...] = STAGES
    budget_h: float | None = None
    run_h: float | None = None
    jobs: int = 1
    shapes: tuple[str, ...] = ()
    focus: str = ""
    most_shapes: int = 6
    rows: tuple[RowGroup, ...] = ROW_GROUPS
    sparsities: tuple[float, ...] = (0.5, 0.8, 0.9)
    bits: tuple[int, ...] = (4, 8)
    seeds: tuple[int, ...] = (1, 2)
    reconstruct: bool = True
    steps: int = 2000
    tail_share: float = 0.25
    measure_pace: bool = True
    openvino: bool = False
    proof_clips: int = 200
    eval_limit: int | None = None
    runs: int = 20
    warm_up: int = 3
    threads: int = 1
    length_s: float = 10.0
    max_reference_wer: float = 0.5

    @property
    def language(self) -> str:
        """ISO 639-1 code of the speech."""
        return str(self.ctc["language"])
