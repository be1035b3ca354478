import builtins
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils._paths import filter_repo_objects
from numpy.typing import NDArray

from app.artifacts import ArtifactError, open_artifact
from app.families.ctc import CtcFamily
from app.families.ctc.decoding import decode_ctc
from app.families.ctc.recognizer import CtcRecognizer
from app.families.ctc.settings import CtcSettings, read_settings
from app.models import (
    Model,
    find_model_folder,
    load_express,
    load_for_lanes,
    load_recognizer,
    load_recognizers,
    open_model,
    warm_up,
)
from app.recognizer import AnyRecognizer, Windowing
from app.runtimes.registry import BACKENDS
from tests.checkpoints import RATE_HZ, SHAPES, babbling, built, served
from tests.fakes import FakeCtc, fake_artifact
from tests.reference import AGREEMENT, SAME, reference

Samples = NDArray[np.float32]

DURATIONS_S = (0.025, 0.3, 1.0, 2.5)


@pytest.fixture(scope="module", params=SHAPES)
def model(request: pytest.FixtureRequest, checkpoints: Path) -> Model:
    """A tiny model with the files of every backend, in each shape of checkpoints."""
    return open_model(served(request.param, checkpoints))


@pytest.fixture(scope="module")
def settings(model: Model) -> CtcSettings:
    return read_settings(model.artifact)


@pytest.fixture(scope="module", params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def recognizer(model: Model, backend: str) -> CtcRecognizer:
    recognizer = load_recognizer(model, backend, threads=1)
    assert isinstance(recognizer, CtcRecognizer)
    return recognizer


@pytest.fixture
def folder(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of an artifact, to be changed."""
    return shutil.copytree(served("cahya_like", checkpoints), tmp_path / "artifact")


def clips() -> list[Samples]:
    return [babbling(duration_s, seed) for seed, duration_s in enumerate(DURATIONS_S)]


class TestEveryBackend:
    def test_it_computes_what_transformers_computes(
        self, recognizer: CtcRecognizer, model: Model, settings: CtcSettings, backend: str
    ) -> None:
        same = []
        by_transformers = reference(model.artifact.folder, clips())
        for samples, emissions, expected in zip(clips(), recognizer.emissions(clips()), by_transformers, strict=True):
            assert emissions.dtype == np.float32
            assert emissions.shape == expected.shape == (settings.framing.frames(len(samples)), expected.shape[1])
            np.testing.assert_allclose(emissions, expected, atol=SAME[backend], rtol=0)
            same.append(emissions.argmax(axis=1) == expected.argmax(axis=1))
        assert np.concatenate(same).mean() >= AGREEMENT[backend]

    def test_emissions_are_log_probabilities(self, recognizer: CtcRecognizer, settings: CtcSettings) -> None:
        (emissions,) = recognizer.emissions([babbling(1.0, 3)])
        np.testing.assert_allclose(np.exp(emissions).sum(axis=1), 1.0, atol=1e-5)
        assert len(set(emissions.argmax(axis=1))) > 5, "the model says different things"
        assert decode_ctc(emissions, settings.vocabulary, settings.frame_s)

    def test_a_clip_does_not_depend_on_the_others(self, recognizer: CtcRecognizer, backend: str) -> None:
        """To the last bit, unless clips share a batch (FP32): then the order of sums may differ."""
        tolerance = 1e-4 if backend == "onnx" else 0.0
        alone = [recognizer.emissions([samples])[0] for samples in clips()]
        for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 2]):
            together = recognizer.emissions([clips()[index] for index in order])
            for index, emissions in zip(order, together, strict=True):
                np.testing.assert_allclose(emissions, alone[index], atol=tolerance, rtol=0)

    def test_no_clips_give_no_emissions(self, recognizer: CtcRecognizer) -> None:
        assert recognizer.emissions([]) == []

    @pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 0), (399, 0), (400, 1), (719, 1), (720, 2)])
    def test_very_short_clips(
        self, recognizer: CtcRecognizer, settings: CtcSettings, samples: int, frames: int
    ) -> None:
        (emissions,) = recognizer.emissions([babbling(1.0, 4)[:samples]])
        assert emissions.shape == (frames, len(settings.vocabulary.tokens))
        assert emissions.dtype == np.float32
        assert not np.isnan(emissions).any()
        decode_ctc(emissions, settings.vocabulary, settings.frame_s)

    @pytest.mark.parametrize("level", [0.0, 0.5, -0.1, 1.0, 1e-8])
    @pytest.mark.parametrize("length", [400, RATE_HZ, 20 * RATE_HZ])
    def test_silence_and_dc_are_blanks(
        self, recognizer: CtcRecognizer, settings: CtcSettings, level: float, length: int
    ) -> None:
        (emissions,) = recognizer.emissions([np.full(length, level, np.float32)])
        assert emissions.shape == (settings.framing.frames(length), len(settings.vocabulary.tokens))
        assert set(emissions.argmax(axis=1)) == {settings.vocabulary.blank}
        np.testing.assert_allclose(np.exp(emissions).sum(axis=1), 1.0)
        assert decode_ctc(emissions, settings.vocabulary, settings.frame_s) == ()

    def test_loudness_and_dc_do_not_matter(self, recognizer: CtcRecognizer, backend: str) -> None:
        samples = babbling(1.0, 5)
        (expected,) = recognizer.emissions([samples])
        (quiet,) = recognizer.emissions([samples * np.float32(0.2) + np.float32(0.1)])
        np.testing.assert_allclose(quiet, expected, atol=0.02 if backend in ("pytorch", "onnx") else 1.5)

    def test_it_can_be_called_from_several_threads_at_once(self, recognizer: CtcRecognizer) -> None:
        sounds = [babbling(0.3 + 0.1 * (seed % 5), seed) for seed in range(24)]
        serial = [recognizer.emissions([samples])[0] for samples in sounds]
        with ThreadPoolExecutor(4) as pool:
            concurrent = list(pool.map(lambda samples: recognizer.emissions([samples])[0], sounds))
        for expected, emissions in zip(serial, concurrent, strict=True):
            np.testing.assert_array_equal(emissions, expected)

    def test_the_input_is_left_as_it_was(self, recognizer: CtcRecognizer) -> None:
        samples = babbling(0.5, 6)
        samples.setflags(write=False)
        recognizer.emissions([samples])
        np.testing.assert_array_equal(samples, babbling(0.5, 6))

    def test_it_warms_up(self, recognizer: CtcRecognizer, model: Model) -> None:
        warm_up(recognizer, model.artifact)


class Fixed(FakeCtc):
    """Returns the given emissions, or raises the given error."""

    def __init__(self, settings: CtcSettings, answer: Samples | Exception) -> None:
        super().__init__(settings)
        self.answer = answer

    def emissions(self, clips: Sequence[Samples]) -> list[Samples]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in clips]


class TestWarmUp:
    FRAMES = 49  # of a second

    @pytest.fixture
    def cahya(self, checkpoints: Path) -> CtcSettings:
        return read_settings(open_artifact(built("cahya_like", checkpoints)))

    def uniform(self, frames: int = FRAMES, tokens: int = 40) -> Samples:
        return np.full((frames, tokens), -np.log(tokens), np.float32)

    def warm_up(self, settings: CtcSettings, answer: Samples | Exception) -> None:
        warm_up(Fixed(settings, answer), fake_artifact(Path()))

    def test_probabilities_of_the_right_shape_pass(self, cahya: CtcSettings) -> None:
        self.warm_up(cahya, self.uniform())

    @pytest.mark.parametrize(("frames", "tokens"), [(FRAMES, 39), (FRAMES, 42), (FRAMES + 1, 40), (0, 40)])
    def test_other_shapes_do_not(self, cahya: CtcSettings, frames: int, tokens: int) -> None:
        with pytest.raises(ArtifactError, match=rf"shape \({frames}, {tokens}\), its settings say \(49, 40\)"):
            self.warm_up(cahya, self.uniform(frames, tokens))

    @pytest.mark.parametrize("changes", [{"hop": 640}, {"hop": 160}, {"receptive_field": 1_000}], ids=str)
    def test_a_model_that_its_settings_do_not_describe_does_not(
        self, checkpoints: Path, changes: dict[str, int]
    ) -> None:
        wrong = open_model(served("cahya_like", checkpoints))
        assert isinstance(wrong.family, CtcFamily)
        settings = wrong.family.settings
        wrong.family.settings = replace(settings, framing=replace(settings.framing, **changes))
        with pytest.raises(ArtifactError, match=r"gave 49 frames for 16000 samples, its settings say \d+"):
            warm_up(load_recognizer(wrong, "onnx", threads=1), wrong.artifact)

    @pytest.mark.parametrize("value", [np.nan, 0.0, -np.inf, 3.0])
    def test_what_is_no_probability_does_not(self, cahya: CtcSettings, value: float) -> None:
        wrong = self.uniform()
        wrong[7] = value
        with pytest.raises(ArtifactError, match="not probabilities"):
            self.warm_up(cahya, wrong)

    def test_one_that_fails_does_not(self, cahya: CtcSettings) -> None:
        with pytest.raises(ArtifactError, match="cannot run: wrong rank"):
            self.warm_up(cahya, RuntimeError("wrong rank"))


class TestLoadRecognizer:
    @pytest.mark.parametrize("backend", sorted(BACKENDS))
    def test_a_backend_names_the_files_without_which_it_cannot_be_loaded(self, folder: Path, backend: str) -> None:
        names = open_model(folder).files_of(backend)
        assert all((folder / name).is_file() for name in names)
        load_recognizer(open_model(folder), backend, threads=1)
        (folder / names[0]).unlink()
        assert open_model(folder).files_of(backend), "it still says what is missing"
        assert not any((folder / name).is_file() for name in open_model(folder).files_of(backend))
        with pytest.raises(ArtifactError):
            load_recognizer(open_model(folder), backend, threads=1)

    @pytest.mark.parametrize("backend", ["onnx_int8", "openvino"])
    def test_the_express_recognizer_is_that_of_the_lanes(
        self, folder: Path, backend: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OpenVINO computes one call after the other on all its threads, the others a call on each core."""
        asked: list[int] = []
        load = load_recognizers

        def note(model: Model, backend: str, threads: Sequence[int], windowing: Windowing) -> list[AnyRecognizer]:
            asked.extend(threads)
            return load(model, backend, threads, windowing)

        monkeypatch.setattr("app.models.load_recognizers", note)
        load_express(open_model(folder), backend, 3)
        alone = asked.copy()
        load_for_lanes(open_model(folder), backend, 3)
        assert alone == [asked[len(alone)]] == [3 if backend == "openvino" else 1]

    @pytest.mark.parametrize(("backend", "name"), [("onnx", "model.onnx"), ("onnx_int8", "model_int8.onnx")])
    def test_a_missing_file_says_how_to_make_it(self, folder: Path, backend: str, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(ArtifactError, match=rf"{name} is missing in .*scripts/export\.py --checkpoint_dir"):
            load_recognizer(open_model(folder), backend, threads=1)

    def test_missing_weights_are_said(self, folder: Path) -> None:
        (folder / "pytorch_model.bin").unlink()
        with pytest.raises(ArtifactError, match=r"there are no PyTorch weights in .*pytorch_model\.bin"):
            load_recognizer(open_model(folder), "pytorch", threads=1)

    def test_without_torch_the_message_says_what_to_install(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import_module = builtins.__import__

        def without_torch(name: str, *rest: Any) -> Any:
            if name.split(".")[0] == "torch" or name == "app.runtimes.pytorch":
                raise ModuleNotFoundError("No module named 'torch'", name="torch")
            return import_module(name, *rest)

        monkeypatch.setattr(builtins, "__import__", without_torch)
        with pytest.raises(
            ArtifactError, match=r"needs torch: pip install -r requirements-train\.txt.*ASR_BACKEND=auto"
        ):
            load_recognizer(open_model(folder), "pytorch", threads=1)

    @pytest.mark.parametrize("content", [b"no model", None])
    def test_a_corrupt_file_is_said(self, folder: Path, content: bytes | None) -> None:
        path = folder / "model.onnx"
        path.write_bytes(path.read_bytes()[:10_000] if content is None else content)
        (folder / "manifest.json").unlink()  # with it, the hash would tell
        with pytest.raises(ArtifactError, match=r"backend 'onnx' cannot load .*artifact"):
            load_recognizer(open_model(folder), "onnx", threads=1)

    def test_a_model_of_another_vocabulary_does_not_pass(self, folder: Path, checkpoints: Path) -> None:
        (folder / "manifest.json").unlink()
        shutil.copyfile(served("small", checkpoints) / "model.onnx", folder / "model.onnx")
        model = open_model(folder)
        with pytest.raises(ArtifactError, match=r"shape \(49, 32\), its settings say \(49, 40\)"):
            warm_up(load_recognizer(model, "onnx", threads=1), model.artifact)

    def test_an_unknown_backend_is_said(self, folder: Path) -> None:
        with pytest.raises(ArtifactError, match="backend 'tpu'"):
            load_recognizer(open_model(folder), "tpu", threads=1)


class TestFindModelFolder:
    HUB = (
        "config.json preprocessor_config.json tokenizer_config.json vocab.json added_tokens.json "
        "special_tokens_map.json alphabet.json pytorch_model.bin README.md language_model/5gram.bin "
        "language_model/unigrams.txt language_model/attrs.json optimizer.pt training_args.bin flax_model.msgpack "
        "model-00001-of-00002.safetensors model.safetensors.index.json checkpoint-500/pytorch_model.bin"
    ).split()

    def test_a_folder_is_itself(self, tmp_path: Path) -> None:
        for backend in BACKENDS:
            assert find_model_folder(str(tmp_path), backend) == tmp_path

    def test_the_hub_is_asked_only_for_pytorch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
        folder = find_model_folder("nobody/nothing", "onnx_int8")
        with pytest.raises(ArtifactError, match="there is no model folder nobody/nothing"):
            open_artifact(folder)

    @pytest.mark.parametrize("language_model", [False, True])
    def test_of_the_hub_the_checkpoint_is_fetched_and_its_language_model_if_it_is_needed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, language_model: bool
    ) -> None:
        fetched: list[str] = []
        revisions: list[str | None] = []

        def snapshot_download(
            name: str,
            allow_patterns: list[str] | str,
            ignore_patterns: str | None = None,
            revision: str | None = None,
        ) -> str:
            assert name == "cahya/wav2vec2-base-turkish"
            found = filter_repo_objects(self.HUB, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
            fetched.extend(found)
            revisions.append(revision)
            return str(tmp_path)

        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
        assert find_model_folder("cahya/wav2vec2-base-turkish", "pytorch", language_model) == tmp_path
        assert revisions == ([None, tmp_path.name] if language_model else [None]), "both of one revision"
        left_out = ("checkpoint-500/",) if language_model else ("checkpoint-500/", "language_model/")
        assert sorted(fetched) == sorted(
            {name for name in self.HUB if not name.startswith(left_out)}
            - {"README.md", "optimizer.pt", "training_args.bin", "flax_model.msgpack"}
        )

    @pytest.mark.parametrize(
        "error",
        [
            requests.ConnectionError("no route"),
            LocalEntryNotFoundError("not in the cache, and the hub cannot be reached"),
            RepositoryNotFoundError("404", response=requests.Response()),
            TimeoutError("slow"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_hub_that_gives_nothing_is_said(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def snapshot_download(*_: Any, **__: Any) -> str:
            raise error

        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
        with pytest.raises(ArtifactError, match="somebody/something is neither a folder nor a checkpoint that the hub"):
            find_model_folder("somebody/something", "pytorch")

    def test_a_name_that_cannot_be_one_is_said(self) -> None:
        with pytest.raises(ArtifactError, match="models/tr/small is neither a folder"):
            find_model_folder("models/tr/small", "pytorch")
