"""The stage `probe` of a study: times all shapes before any training, and chooses those that are trained."""

from collections.abc import Sequence
from functools import partial

from scripts.common.machine import processor, versions
from scripts.compression.candidate_shapes import Candidate, dominated, focus_of, grid, spread
from scripts.compression.plan import TEACHER
from scripts.compression.probe import export_untrained, time_shapes
from scripts.compression.stage_folders import Stage
from scripts.compression.students_of_teacher import StudyError, config_of
from scripts.compression.study import EXPORT_TOOLS, INT8, Study


def probe_shapes(study: Study) -> None:
    """Time all shapes, and choose those that are trained. Writes `shapes` of the state."""
    options = study.options
    labels = list(options.shapes) or grid(config_of(study.teacher))
    print(f"Probe: {len(labels)} shapes", flush=True)
    made, parameters, refused = export_shapes(study, labels)
    settings = [options.runs, options.warm_up, options.threads, options.length_s, processor()]
    timed = study.stage("probe", "times", [{name: stage.key for name, stage in made.items()}, settings])
    folders = {name: stage.folder for name, stage in made.items()}
    times = timed.made(
        lambda folder: {
            "times": time_shapes(
                folders, options.openvino, options.runs, options.warm_up, options.threads, options.length_s
            ),
            "processor": processor(),
        }
    )
    measured = times["times"]
    candidates = [
        Candidate(name, parameters[name], measured[name][INT8]["p50_s"])
        for name in made
        if name != TEACHER and INT8 in measured[name]
    ]
    if not candidates:
        raise StudyError("no shape can be exported: name others with --shapes")
    useless = {} if options.shapes else dominated(candidates)
    kept = [one for one in candidates if one.label not in useless]
    teacher_s = measured[TEACHER][INT8]["p50_s"]
    focus = options.focus or focus_of(kept, teacher_s)
    chosen = kept if options.shapes else spread(kept, options.most_shapes)
    labels = [one.label for one in chosen]
    if focus not in labels:
        labels = [*labels[: max(0, options.most_shapes - 1)], focus]
    study.state.set(
        shapes={
            "labels": labels,
            "focus": focus,
            "dominated": useless,
            "refused": refused,
            "parameters": parameters,
            "times": measured,
            "processor": times["processor"],
        }
    )
    for one in candidates:
        why = f", dominated by {useless[one.label]}" if one.label in useless else ""
        why = why or ("" if one.label in labels else ", left out")
        print(f"  {one.label:20} {1000 * one.time_s:8.1f} ms, {teacher_s / one.time_s:.2f} times as fast{why}")


def export_shapes(study: Study, labels: Sequence[str]) -> tuple[dict[str, Stage], dict[str, int], dict[str, str]]:
    """Export the teacher and shapes without training. labels: of the shapes.

    Returns, by name: the results, the numbers of parameters, and the reasons why others are not possible. Raises
    StudyError if the teacher is among those.
    """
    options = study.options
    made: dict[str, Stage] = {}
    parameters: dict[str, int] = {}
    refused: dict[str, str] = {}
    for label in ("", *labels):
        name = label or TEACHER
        inputs = [study.hashes["teacher"], label, options.openvino, versions(EXPORT_TOOLS)]
        stage = study.stage("probe", name, inputs)
        result = stage.made(partial(export_untrained, study.teacher, label, openvino=options.openvino))
        if result["refused"]:
            refused[name] = result["refused"]
            print(f"  {name} is not possible: {result['refused']}", flush=True)
        else:
            made[name], parameters[name] = stage, result["parameters"]
            print(f"  {name}: {parameters[name] / 1e6:.1f} M parameters", flush=True)
    if TEACHER in refused:
        raise StudyError(f"the teacher cannot be exported: {refused[TEACHER]}")
    return made, parameters, refused
