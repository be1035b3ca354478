"""Decode thousands of broken files: for half a minute here, twice as long by `make test-all`, or for any length of
time by `make fuzz`.

The cases are the same in every run. The text of a failure has the command that decodes the case again.
"""

import io
from pathlib import Path

import numpy as np
import pytest

from app.audio import decode
from tests.fuzz.cases import SEED_LENGTHS_S, Cases, write_seeds
from tests.fuzz.ogg import with_valid_checksums
from tests.fuzz.parent import PLATEAU_BYTES, Finding, decode_file, fuzz, memory_growth
from tests.fuzz.properties import WAVEFORM, decode_checked
from tests.once import made_once, shared_folder

CASES, PARTS = 12_000, 4
"""Number of cases, and of parts that can run in parallel."""
SMALL_CASE = 40
"""The number of a case of 3 KB, whose time limit is about half a second. It is decoded twice, and from disk."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        folder.mkdir()
        write_seeds(folder)

    return made_once(shared_folder(tmp_path_factory) / "seeds", make)


def explained(findings: list[Finding]) -> str:
    lines = [f"case {found.case}: {found.cause}\n{found.details}" for found in findings[:3]]
    again = f"python -m tests.fuzz --first {findings[0].case} --count 1 --out FOLDER" if findings else ""
    return "\n".join([f"{len(findings)} failures; to decode it again and save it: {again}", *lines])


@pytest.mark.parametrize("part", [0, 1, *(pytest.param(part, marks=pytest.mark.slow) for part in range(2, PARTS))])
def test_no_broken_file_crashes_the_decoder(part: int, seeds: Path) -> None:
    count = CASES // PARTS
    report = fuzz(part * count, count, seeds)
    assert report.findings == [], explained(report.findings)
    assert report.cases == count
    assert set(report.outcomes) == {WAVEFORM, "invalid_audio", "unsupported_media", "audio_too_long"}
    assert report.outcomes[WAVEFORM] > count / 4, "most of the cases should get past the header"


# Tests of the fuzzer itself


def test_seeds_and_cases_are_the_same_every_time(seeds: Path, tmp_path: Path) -> None:
    write_seeds(tmp_path)
    files = {path.name: path.read_bytes() for path in seeds.iterdir()}
    assert files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    first, second = Cases(seeds), Cases(tmp_path)
    cases = [first.case(number) for number in range(200)]
    assert cases == [second.case(number) for number in range(200)]
    assert len(set(cases)) > 190
    assert len(set(cases) & set(files.values())) < 10, "cases are mutations"


def test_seeds_are_valid_audio(seeds: Path) -> None:
    for path in seeds.iterdir():
        decoded = decode_checked(decode, io.BytesIO(path.read_bytes()))
        assert decoded.outcome == WAVEFORM, path.name
        assert decoded.audio_s == pytest.approx(float(path.name.split()[-2]), abs=0.2), path.name
    assert {float(path.name.split()[-2]) for path in seeds.iterdir()} == set(SEED_LENGTHS_S)


def test_checksums_of_ogg_are_those_that_encoders_write(seeds: Path) -> None:
    """FFmpeg writes its own checksums into its seeds."""
    for name in ("ogg opus by ffmpeg", "ogg flac"):
        data = (seeds / f"{name}, {SEED_LENGTHS_S[0]:g} s").read_bytes()
        assert with_valid_checksums(data) == data
        assert with_valid_checksums(data[:25] + b"\0" + data[26:]) == data
        assert with_valid_checksums(data[:-40]) != data[:-40], "the last page is shorter now"


@pytest.mark.parametrize(
    ("defect", "cause", "count"),
    [
        ("crash", "the process was killed by SIGSEGV", 2),
        ("hang", "hang: too much CPU time", 1),
        ("be_slow", "too slow", 1),
        ("take_all_memory", "MemoryError in take_all_memory, broken.py", 1),
        ("keep_memory", "memory grows", 400),
        ("keep_descriptors", "descriptors or threads are left", 52),
        ("keep_threads", "descriptors or threads are left", 52),
        ("keep_files", "files are left", 1),
        ("close", "the file was closed", 1),
        ("give_nan", "samples that are not finite", 1),
        ("give_nothing", "the duration differs from the metered one", 1),
        ("give_float64", "not mono float32 at 16000 Hz", 1),
        ("give_too_much", "longer than the limit", 1),
        ("give_other_samples", "other samples the second time", 1),
        ("meter_nothing", "the duration differs from the metered one", 1),
        ("raise_what_is_not_documented", "ValueError in raise_what_is_not_documented, broken.py", 1),
        ("raise_another_error_of_ours", "Overloaded in raise_another_error_of_ours, broken.py", 1),
        ("raise_bytes", "the error has details that cannot be sent as JSON", 1),
        ("raise_a_long_message", "the error message is not a short line", 1),
    ],
)
def test_each_defect_of_a_decoder_is_found(defect: str, cause: str, count: int, seeds: Path) -> None:
    report = fuzz(SMALL_CASE, count, seeds, f"tests.fuzz.broken:{defect}", hang_s=1.0 if defect == "hang" else 30.0)
    assert {found.cause for found in report.findings} == {cause}
    assert report.cases == count, "it continues after a case that ended the process"


def test_memory_that_reaches_a_plateau_does_not_grow() -> None:
    mib = 1 << 20
    noise = np.random.default_rng(0).integers(0, mib, 100)
    warm_up = np.minimum(np.arange(100), 20) * mib
    assert memory_growth(list(60 * mib + warm_up + noise)) == 0
    assert memory_growth(list(60 * mib + np.arange(100) * mib // 2 + noise)) > PLATEAU_BYTES
    assert memory_growth([1, 1 << 40]) == 0, "too few measurements"


def test_a_saved_file_is_decoded_again(seeds: Path, tmp_path: Path) -> None:
    path = tmp_path / "17"
    path.write_bytes(Cases(seeds).case(17))
    assert decode_file(path, "tests.fuzz.broken:crash").findings
    report = decode_file(path)
    assert report.findings == []
    assert report.outcomes.total() == 1
