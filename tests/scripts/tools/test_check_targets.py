import json
import re
from pathlib import Path

import pytest

from scripts.common import ROOT
from scripts.tools.check_targets import Target, main, read_targets

DOCUMENT = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("target", "value", "reached"),
    [
        (Target(0.36, at_least=False), 0.36, True),
        (Target(0.36, at_least=False), 0.37, False),
        (Target(0.9, at_least=True), 0.9, True),
        (Target(0.9, at_least=True), 0.89, False),
        (Target(0.9, at_least=False), None, False),
    ],
)
def test_a_target_is_reached_within_its_bound(target: Target, value: float | None, reached: bool) -> None:
    assert target.reached_by(value) is reached


def write(folder: Path, stem: str, **values: float | None) -> Path:
    figures = [{"key": key, "what": f"what {key} is", "value": value, "unit": "s"} for key, value in values.items()]
    (path := folder / f"{stem}.json").write_text(json.dumps({"key_figures": figures}), encoding="utf-8")
    return path


def test_each_figure_is_shown_beside_its_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = write(tmp_path, "benchmark_report", int8_latency_to_pytorch=0.25, without_target=3.0)
    overload = write(tmp_path, "load_overload", refusals_p95=None, throughput_to_peak=0.95)
    with pytest.raises(SystemExit) as ended:
        main([str(benchmark), str(overload), str(write(tmp_path, "load_report", p95=1.0))])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "| benchmark_report | what int8_latency_to_pytorch is | 0.25 s | at most 0.36 s | reached |" in printed.out
    assert "| load_overload | what refusals_p95 is | - | at most 0.1 s | missed |" in printed.out
    assert "at least 0.9 s | reached" in printed.out
    assert "without_target" not in printed.out
    assert "load_report.json has no targets" in printed.err


def test_it_exits_with_0_if_all_targets_are_reached(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(write(tmp_path, "load_sigterm", lost=0, wrong=0, exit_code=0))])
    assert ended.value.code == 0


def test_the_document_has_the_same_targets() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| .* \| (at (?:most|least) [\d.]+) \| .* \|$", DOCUMENT, re.MULTILINE)
    bounds = [(report, key, str(target)) for report, found in read_targets().items() for key, target in found.items()]
    assert rows == bounds
