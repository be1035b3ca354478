import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest

from app.speed_record import MAX_RECORDS, keep, recall, record_files

KEY = {"cpu": {"model": "a", "features": ["AVX2"]}, "workers": 2}
SPEEDS = {"onnx_int8": 66.5, "openvino": 83.0}


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a cache and a folder for temporary files of the test's own, and a model folder beside them."""
    for name in ("home", "tmp", "model"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def no_folder(path: Path) -> None:
    """Nothing can be written in or below this path, not even by root: it is a file."""
    if path.is_dir():
        path.rmdir()
    path.write_text("", encoding="utf-8")


def test_a_record_is_kept_beside_the_model(homes: Path) -> None:
    files = record_files(homes / "model")
    assert recall(files, KEY) is None
    assert keep(files, KEY, SPEEDS) == homes / "model" / ".speeds"
    assert recall(files, KEY) == SPEEDS
    assert [path.name for path in (homes / "model").iterdir()] == [".speeds"], "nothing else is left"
    assert list((homes / "home").iterdir()) == list((homes / "tmp").iterdir()) == []


@pytest.mark.parametrize("other", [{"workers": 3}, {"cpu": {"model": "a", "features": []}}, {"manifest": "x"}])
def test_it_holds_for_its_key_alone(homes: Path, other: dict[str, object]) -> None:
    files = record_files(homes / "model")
    keep(files, KEY, SPEEDS)
    assert recall(files, KEY | other) is None
    keep(files, KEY | other, {"onnx": 1.0})
    assert recall(files, KEY | other) == {"onnx": 1.0}
    assert recall(files, KEY) == SPEEDS, "several machines may share the folder"


def test_the_latest_measurement_counts(homes: Path) -> None:
    files = record_files(homes / "model")
    keep(files, KEY, SPEEDS)
    keep(files, KEY, {"onnx": 1.0})
    assert recall(files, KEY) == {"onnx": 1.0}


def test_old_records_go(homes: Path) -> None:
    files = record_files(homes / "model")
    for workers in range(MAX_RECORDS + 3):
        keep(files, KEY | {"workers": workers}, SPEEDS)
    kept = [workers for workers in range(MAX_RECORDS + 3) if recall(files, KEY | {"workers": workers})]
    assert kept == list(range(3, MAX_RECORDS + 3))


def test_where_the_model_is_read_only_it_is_kept_in_the_cache(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_folder(homes / "model")
    cached = homes / "home" / ".cache" / "dikte" / "speed.json"
    assert keep(record_files(homes / "model"), KEY, SPEEDS) == cached
    assert recall(record_files(homes / "model"), KEY) == SPEEDS
    monkeypatch.setenv("XDG_CACHE_HOME", str(homes / "xdg"))
    assert keep(record_files(homes / "model"), KEY, SPEEDS) == homes / "xdg" / "dikte" / "speed.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert keep(record_files(homes / "model"), KEY, SPEEDS) == cached, "the specification wants an absolute path"


def test_where_nothing_else_can_be_written_it_is_kept_among_temporary_files(homes: Path) -> None:
    for name in ("model", "home"):
        no_folder(homes / name)
    path = keep(record_files(homes / "model"), KEY, SPEEDS)
    assert path == homes / "tmp" / f"dikte-{os.getuid()}" / "speed.json"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert recall(record_files(homes / "model"), KEY) == SPEEDS


def test_where_nothing_can_be_written_at_all_it_says_so(homes: Path) -> None:
    for name in ("model", "home", "tmp"):
        no_folder(homes / name)
    files = record_files(homes / "model")
    assert keep(files, KEY, SPEEDS) is None
    assert recall(files, KEY) is None


def test_nobody_elses_folder_is_used_among_temporary_files(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.getuid()
    (homes / "tmp" / f"dikte-{mine + 1}").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert not [path for path in record_files(homes / "model") if path.is_relative_to(homes / "tmp")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"[]",
        b"{}",
        b'{"records": 3}',
        b'{"records": [3]}',
        b'{"records": [{"key": {}, "speeds": {"onnx": "fast"}}]}',
        b'{"records": [{"key": {}, "speeds": {"onnx": NaN}}]}',
        b'{"records": [{"key": {}, "speeds": {"onnx": -1.0}}]}',
        b'{"records": [{"key": 1, "speeds": {}}]}',
        b'{"records": [{"speeds": {}}]}',
    ],
)
def test_a_file_that_is_no_record_counts_for_nothing_and_is_replaced(homes: Path, content: bytes) -> None:
    path = homes / "model" / ".speeds"
    path.write_bytes(content)
    files = record_files(homes / "model")
    assert recall(files, KEY) is None
    assert keep(files, KEY, SPEEDS) == path
    assert recall(files, KEY) == SPEEDS


def test_a_link_is_replaced_and_what_it_points_to_stays(homes: Path) -> None:
    target = homes / "precious"
    target.write_text("precious", encoding="utf-8")
    (homes / "model" / ".speeds").symlink_to(target)
    keep(record_files(homes / "model"), KEY, SPEEDS)
    assert target.read_text(encoding="utf-8") == "precious"
    assert recall(record_files(homes / "model"), KEY) == SPEEDS


def write_often(folder: Path, worker: int) -> None:
    for _ in range(50):
        assert keep([folder / ".speeds"], KEY | {"workers": worker}, SPEEDS)


def test_processes_that_write_at_once_leave_a_whole_file(homes: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_often, args=(homes / "model", worker)) for worker in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert [path.name for path in (homes / "model").iterdir()] == [".speeds"]
    records = json.loads((homes / "model" / ".speeds").read_text(encoding="utf-8"))["records"]
    assert {record["key"]["workers"] for record in records} <= {0, 1}
    assert all(record["speeds"] == SPEEDS for record in records)
    assert records
