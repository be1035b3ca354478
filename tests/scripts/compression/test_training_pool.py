import json
import os
import re
import time
from pathlib import Path

import pytest

from scripts.compression import training_pool
from scripts.compression.training_job import TrainingJob
from scripts.compression.training_pool import LEAST_LEFT_S, PoolJob, run_jobs

PROGRAM = """
import json, pathlib, sys, time
job = json.load(open(sys.argv[1]))
stage = pathlib.Path(job["out"]) / job["kind"] / f"{job['name']}-{job['key']}"
print("begins", flush=True)
with open(pathlib.Path(job["out"]) / "order", "a") as order:
    order.write(job["name"] + " ")
if job["options"].get("waits"):
    time.sleep(60)
if job["options"].get("fails"):
    sys.exit("DataError: no clips")
stage.mkdir(parents=True)
(stage / "result.json").write_text("{}")
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(training_pool, "JOB_PROGRAM", program)
    return tmp_path


def job(out: Path, name: str, *needs: str, **options: bool) -> PoolJob:
    return PoolJob(TrainingJob(str(out), "trained", name, "key", {}, options), needs, steps=10)


def test_jobs_run_in_their_order_and_wait_for_others(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(out, "first"), job(out, "second", "first"), job(out, "third")]
    ticks: list[None] = []
    assert run_jobs(jobs, 2, tick=lambda: ticks.append(None)) == {}
    order = (out / "order").read_text().split()
    assert sorted(order) == ["first", "second", "third"]
    assert order.index("second") > order.index("first")
    assert all(one.job.stage.is_done for one in jobs)
    assert ticks
    assert re.search(r"trained second: \d+ s \(\d of 3\)", capsys.readouterr().out)
    (out / "order").unlink()
    assert run_jobs(jobs, 2) == {}
    assert not (out / "order").exists(), "what is done does not run again"


def test_a_job_that_fails_takes_only_its_own_with_it(out: Path) -> None:
    jobs = [job(out, "bad", fails=True), job(out, "after", "bad"), job(out, "good"), job(out, "lost", "unknown")]
    failed = run_jobs(jobs, 1)
    assert set(failed) == {"bad", "after", "lost"}
    assert failed["bad"].startswith("DataError: no clips (see ")
    assert "needs bad" in failed["after"]
    assert jobs[2].job.stage.is_done


def test_nothing_starts_when_the_budget_is_used_up(out: Path) -> None:
    failed = run_jobs([job(out, "late")], 1, deadline=time.time() + LEAST_LEFT_S - 1)
    assert failed == {"late": "the budget was used up before it began"}
    assert not (out / "order").exists()


def test_an_interruption_ends_the_processes(out: Path) -> None:
    def interrupt() -> None:
        if (out / "order").exists():
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs([job(out, "long", waits=True)], 1, tick=interrupt)
    assert time.monotonic() - started < 50
    (specification,) = (out / "partial" / "jobs").glob("*.json")
    assert json.loads(specification.read_text())["name"] == "long"
    mine = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(specification).encode() in _read(path)]
    assert not mine, os.getpid()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
