"""Export a CTC checkpoint to an artifact that the service loads: ONNX FP32, ONNX INT8, settings and a manifest.

    python scripts/export.py --checkpoint_dir cahya/wav2vec2-base-turkish --onnx_dir models/onnx
    ASR_MODEL_DIR=models/onnx make serve

The result is compared with the checkpoint on real clips (those of `samples/`, or `--clips`); if FP32 differs, or INT8
says something else too often, the command fails and no manifest is written.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file: make the packages importable

import argparse
import json
import shutil
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCTC

from app.artifacts import MANIFEST_NAME, Artifact, ArtifactError, open_artifact, sha256_of
from app.asr import OPENVINO_INT8, OPENVINO_INT8_WEIGHTS, find_model_folder, load_engine
from app.audio import AudioLimits, decode
from app.decoding import Emissions, decode_ctc
from app.errors import AsrError
from app.windows import Samples
from scripts.data import DataError
from scripts.onnx_files import count_operators, export_model, quantize, store_compactly

SETTINGS_FILES = (
    "config.json",
    "preprocessor_config.json",
    "vocab.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "training.json",
)
"""What an artifact takes over from its checkpoint, where it is there: settings, and how `train.py` made it."""
MAX_FP32_DIFFERENCE = 1e-3
"""Largest difference of log-probabilities between PyTorch and ONNX FP32 that counts as the same model."""
MIN_INT8_AGREEMENT = 0.95
"""Least share of frames in which INT8 must choose the token that FP32 chooses."""
SAMPLES = str(Path(__file__).resolve().parents[1] / "samples" / "manifest.jsonl")
CLIP_LIMITS = AudioLimits(max_duration_s=30.0, max_decoded_bytes=1 << 30, max_channels=8)


def copy_settings(source: Path, target: Path) -> None:
    """Copy the tokenizer's and feature extractor's files, as far as the checkpoint has them."""
    for name in SETTINGS_FILES:
        if (source / name).is_file() and source.resolve() != target.resolve():
            shutil.copyfile(source / name, target / name)


def read_clips(folder: Path, rate_hz: int) -> dict[str, Samples]:
    """File name -> samples of all sound files of a folder. Raises ArtifactError if there are none, or broken ones."""
    clips = {}
    for path in sorted(folder.glob("*")):
        if path.suffix in (".wav", ".flac", ".mp3", ".ogg", ".m4a"):
            try:
                with path.open("rb") as file:
                    clips[path.name] = decode(file, rate_hz, CLIP_LIMITS).samples
            except AsrError as error:
                raise ArtifactError(f"{path} cannot be compared on: {error.message}") from error
    if not clips:
        raise ArtifactError(f"there is no clip to compare on in {folder}")
    return clips


def emissions_of(artifact: Artifact, backend: str, clips: dict[str, Samples]) -> dict[str, Emissions]:
    engine = load_engine(artifact, backend, threads=1)
    return dict(zip(clips, engine.emissions(list(clips.values())), strict=True))


def compare(artifact: Artifact, reference: dict[str, Emissions], other: dict[str, Emissions]) -> dict[str, Any]:
    """Parity of two engines over the same clips: largest difference, share of equal frames, share of equal texts."""
    differences, frames, texts = [], [], []
    for name, expected in reference.items():
        with np.errstate(invalid="ignore"):  # digital silence: both are minus infinity
            difference = np.where(expected == other[name], 0.0, np.abs(expected - other[name]))
        differences.append(float(difference.max(initial=0.0)))
        frames.append(expected.argmax(axis=1) == other[name].argmax(axis=1))
        said = [
            [word.text for word in decode_ctc(emissions, artifact.vocabulary, artifact.frame_s)]
            for emissions in (expected, other[name])
        ]
        texts.append(said[0] == said[1])
    return {
        "clips": len(reference),
        "max_difference": float(np.max(differences)),  # NaN if any is
        "argmax_agreement": float(np.concatenate(frames).mean()),
        "text_equality": float(np.mean(texts)),
    }


def write_manifest(folder: Path, name: str, source: str, parity: dict[str, Any]) -> Path:
    """Write what the artifact is: where it came from, its files with hashes, the tools, and the parity found."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix in (".onnx", ".json", ".safetensors", ".xml", ".bin") and path.name != MANIFEST_NAME
    )
    manifest = {
        "format": 1,
        "name": name,
        "source": source,
        "files": {path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in files},
        "tools": {tool: version(tool) for tool in ("torch", "transformers", "optimum-onnx", "onnx", "onnxruntime")},
        "quantization": {
            "method": "dynamic, MatMul, signed weights per channel",
            "operators": {
                name: count
                for name, count in count_operators(folder / "model_int8.onnx").items()
                if "Integer" in name or name in ("MatMul", "Conv")
            },
        },
        "parity": parity,
    }
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def copy_half_precision(source: Path, target: Path) -> None:
    """Put the checkpoint itself into the artifact, its weights rounded to float16 (half the size)."""
    AutoModelForCTC.from_pretrained(source, dtype=torch.float16).save_pretrained(target)


def make_openvino(source: Path, artifact: Artifact, calibration: str) -> None:
    """Make the INT8 file of OpenVINO. Raises ArtifactError if what it needs is missing."""
    try:
        from scripts.openvino_files import make_openvino_int8
    except ImportError as error:
        raise ArtifactError(f"--openvino needs {error.name}: pip install -r requirements-openvino.txt") from error
    try:
        counts = make_openvino_int8(source, artifact, calibration)
    except DataError as error:
        raise ArtifactError(str(error)) from error
    size = (artifact.folder / OPENVINO_INT8_WEIGHTS).stat().st_size
    print(f"{OPENVINO_INT8}: {size / 1e6:.1f} MB, in INT8: {counts}")


def export(
    checkpoint: str,
    folder: Path,
    name: str,
    clips_folder: Path,
    with_checkpoint: bool = False,
    openvino_calibration: str = "",
) -> dict[str, Any]:
    """Make the artifact in `folder`. Returns the parity. Raises ArtifactError when a proof fails.

    openvino_calibration: speech data for the INT8 file of OpenVINO; without, none is made.
    """
    source = find_model_folder(checkpoint, "pytorch")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).unlink(missing_ok=True)  # what it proved is no longer there
    copy_settings(source, folder)
    if with_checkpoint:
        copy_half_precision(source, folder)
        source = folder
    model = AutoModelForCTC.from_pretrained(source, dtype=torch.float32)
    export_model(model, folder / "model.onnx")
    quantize(folder / "model.onnx", folder / "model_int8.onnx")
    for file in ("model.onnx", "model_int8.onnx"):
        store_compactly(folder / file)
        print(f"{file}: {(folder / file).stat().st_size / 1e6:.1f} MB")
    artifact = open_artifact(folder)
    for file in (OPENVINO_INT8, OPENVINO_INT8_WEIGHTS):
        (folder / file).unlink(missing_ok=True)  # of another checkpoint, perhaps
    if openvino_calibration:
        make_openvino(source, artifact, openvino_calibration)

    clips = read_clips(clips_folder, artifact.features.sample_rate_hz)
    fp32 = emissions_of(artifact, "onnx", clips)
    parity = {
        "fp32": compare(artifact, emissions_of(open_artifact(source), "pytorch", clips), fp32),
        "int8": compare(artifact, fp32, emissions_of(artifact, "onnx_int8", clips)),
    }
    if openvino_calibration:
        parity["openvino_int8"] = compare(artifact, fp32, emissions_of(artifact, "openvino", clips))
    print(json.dumps(parity, indent=2))
    if not parity["fp32"]["max_difference"] <= MAX_FP32_DIFFERENCE:  # NaN is no parity either
        raise ArtifactError("ONNX FP32 does not compute what the checkpoint computes")
    for int8 in parity.keys() - {"fp32"}:
        if not parity[int8]["argmax_agreement"] >= MIN_INT8_AGREEMENT:
            raise ArtifactError(f"{int8.upper()} does not say what FP32 says")
    print(write_manifest(folder, name, checkpoint, parity))
    return parity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", required=True, help="checkpoint folder or hub id")
    parser.add_argument("--onnx_dir", type=Path, required=True, help="artifact folder to make")
    parser.add_argument("--name", help="name of the model in answers (default: the folder's)")
    parser.add_argument("--with_checkpoint", action="store_true", help="put the checkpoint in too, in half precision")
    parser.add_argument("--clips", type=Path, default=Path("samples"), help="folder of clips to compare on")
    parser.add_argument("--openvino", action="store_true", help="make the INT8 file of ASR_BACKEND=openvino too")
    parser.add_argument(
        "--calibration", default=SAMPLES, help="manifest, folder or hub id of speech for it (default: the samples)"
    )
    arguments = parser.parse_args()
    try:
        export(
            arguments.checkpoint_dir,
            arguments.onnx_dir,
            arguments.name or arguments.onnx_dir.name,
            arguments.clips,
            arguments.with_checkpoint,
            arguments.calibration if arguments.openvino else "",
        )
    except ArtifactError as error:
        sys.exit(f"export failed: {error}")
    print(f"Serve it: ASR_MODEL_DIR={arguments.onnx_dir} make serve")


if __name__ == "__main__":
    main()
