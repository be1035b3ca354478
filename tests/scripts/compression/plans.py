"""Options and plans of studies, for the tests."""

from pathlib import Path
from typing import Any

from scripts.compression.plan import Plan, make_plan
from scripts.compression.study_options import StudyOptions

SHAPES = ("l6", "l3", "l3-c128")
FOCUS = "l3"


def options(out: Path = Path("out"), **changes: Any) -> StudyOptions:
    values: dict[str, Any] = {
        "teacher": "teacher",
        "dataset_name": "someone/speech",
        "eval_sets": {"clean": "clean.jsonl"},
        "training": {"eval_steps": 500},
        "distillation": {},
        "ctc": {"language": "tr"},
    }
    return StudyOptions(out=out, **(values | changes))


def plan(**changes: Any) -> Plan:
    return make_plan(SHAPES, FOCUS, options(**changes))
