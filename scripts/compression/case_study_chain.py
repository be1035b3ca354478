"""The chain of a case study, repeated with our models: a row for each step, from the teacher to the student in INT8."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scripts.common.report import number, table
from scripts.compression.evaluation import figures_of_clips
from scripts.compression.front import Rate
from scripts.compression.point_figures import clips_of, rate
from scripts.compression.study import FP32, INT8, PYTORCH, Study

CASE_STUDY = (
    ("BERT baseline", 418.16, 54.20, 1.91, 0.867),
    ("DistilBERT", 255.89, 27.53, 0.60, 0.858),
    ("+ distillation", 255.89, 25.96, 1.63, 0.868),
    ("+ quantization (PyTorch)", 132.40, 12.54, 0.73, 0.876),
    ("+ ONNX Runtime", 255.88, 21.02, 0.55, 0.868),
    ("+ both", 64.20, 9.24, 0.29, 0.877),
)
"""The chain of the case study: title, MB, ms, deviation of the ms, accuracy.

Source: L. Tunstall, L. von Werra, T. Wolf, "Natural Language Processing with Transformers", 2022, notebook
08_model-compression.ipynb."""


def chain_rows(study: Study) -> list[dict[str, Any]]:
    """The chain of the case study with our models: title, size_bytes, mean_s, std_s and wer, each None if missing."""
    speeds = study.speeds()
    engines: Mapping[str, Any] = speeds.result()["engines"] if speeds.is_done else {}
    by_name = {point.name: point for point in study.plan.points}
    teacher, plain, focus = study.chain
    rows = []
    for title, name, backend in (
        ("baseline: teacher, PyTorch", teacher, PYTORCH),
        ("student, PyTorch", plain, PYTORCH),
        ("+ distillation", focus, PYTORCH),
        ("+ INT8 (PyTorch)", focus, "pytorch_int8"),
        ("+ ONNX Runtime", focus, FP32),
        ("+ both: ONNX Runtime INT8", focus, INT8),
    ):
        point = by_name.get(name)
        if point is None or not study.artifact(point).is_done:
            continue
        made, engine = study.artifact(point).result(), engines.get(f"{name}:{backend}", {})
        clips = next(iter(clips_of(study, point, backend).values()), None)
        size = (
            made["checkpoint_bytes"]
            if backend == PYTORCH
            else made["size_bytes"].get(backend, engine.get("size_bytes"))
        )
        rows.append(
            {
                "title": title,
                "point": name,
                "backend": backend,
                "size_bytes": size,
                "mean_s": engine.get("mean_s"),
                "std_s": engine.get("std_s"),
                "wer": None if clips is None else asdict(rate(figures_of_clips(clips).wer)),
            }
        )
    return rows


def factors(rows: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """How many times smaller and faster the end of a chain is than its beginning; None if one was not measured."""
    if len(rows) < 2:
        return None, None
    first, last = rows[0], rows[-1]
    return tuple(  # type: ignore[return-value]  # of two
        first[name] / last[name] if first[name] and last[name] else None for name in ("size_bytes", "mean_s")
    )


def chain_table(chain: Sequence[Mapping[str, Any]]) -> str:
    """Our chain, and its two factors."""
    rows = []
    for row in chain:
        wer = "-" if row["wer"] is None else str(Rate(**row["wer"]))
        time = "-" if row["mean_s"] is None else f"{1000 * row['mean_s']:.1f} ± {1000 * row['std_s']:.1f}"
        rows.append(
            [row["title"], row["point"], number(row["size_bytes"] and row["size_bytes"] / 1e6, ".2f"), time, wer]
        )
    size, latency = factors(chain)
    rows.append(["factor", "", number(size, ".1f"), number(latency, ".1f"), ""])
    return table(["chain", "point", "MB", "ms", "WER"], rows)


def case_study_table() -> str:
    """The chain of the case study, and its two factors."""
    rows = [
        [title, f"{size:.2f}", f"{mean:.2f} ± {std:.2f}", f"{accuracy:.3f}"]
        for title, size, mean, std, accuracy in CASE_STUDY
    ]
    first, last = CASE_STUDY[0], CASE_STUDY[-1]
    rows.append(["factor", f"{first[1] / last[1]:.1f}", f"{first[2] / last[2]:.1f}", ""])
    return table(["case study", "MB", "ms", "accuracy"], rows)
