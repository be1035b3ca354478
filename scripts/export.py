"""Export a checkpoint to an artifact that the service loads: ONNX FP32, ONNX INT8, settings and a manifest.

    python scripts/export.py --checkpoint_dir cahya/wav2vec2-base-turkish --onnx_dir models/onnx
    python scripts/export.py --checkpoint_dir openai/whisper-small --onnx_dir models/whisper-small
    ASR_MODEL_DIR=models/onnx make serve

The command proves the artifact: it compares each backend with the checkpoint, clip by clip, on `samples/` or on your
own sets (`--eval_manifest`; best with 500 clips or more). If a proof fails, the command fails, names the proof, and
writes no manifest; the service does not load an artifact without proofs. `--adopt` proves the ONNX files that are
already in the folder, such as an export of `optimum-cli`, and makes only the missing ones. For Whisper, `--layout
optimum` makes the files that optimum makes.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np

from app.artifacts import CONFIG_NAME, ArtifactError, write_manifest
from app.families.ctc import MODEL_TYPES as CTC_TYPES
from app.families.ctc.language_model import FOLDER as LANGUAGE_MODEL_FOLDER
from app.families.whisper import MODEL_TYPE as WHISPER_TYPE
from app.models import Model, find_model_folder, load_recognizer, open_model, warm_up
from app.recognizer import AnyRecognizer, Samples
from app.runtimes.registry import BACKENDS, ONNX, ONNX_INT8, OPENVINO, REFERENCE
from scripts.common import SAMPLES
from scripts.common.arguments import wer_limit
from scripts.exporting.artifact_folder import copy_settings, describe, revision_of, take_manifest
from scripts.exporting.ctc_exporter import CtcExporter
from scripts.exporting.evidence_clips import collect_evidence
from scripts.exporting.exporter import THREADS, Exporter, Layout, Options
from scripts.exporting.graph_export import Quantization
from scripts.exporting.integer_ranges import LayerBits
from scripts.exporting.proofs import (
    DECIDING_CLIPS,
    FP32_BACKEND,
    MAX_REFERENCE_WER,
    ROUNDED,
    Limit,
    Measurements,
    prove,
)
from scripts.exporting.timing import measure_latency
from scripts.exporting.whisper_exporter import WhisperExporter
from scripts.speech.data import DataError, SpeechRows
from scripts.speech.eval_sets import load_eval_set

PROVEN_BACKENDS = (ONNX, ONNX_INT8)
"""The backends that are always proven, besides the reference. OpenVINO is proven too if it is installed."""
LATENCY_CLIP_S = 10.0
EXPORTERS: Mapping[str, Exporter] = {**dict.fromkeys(CTC_TYPES, CtcExporter()), WHISPER_TYPE: WhisperExporter()}
"""`model_type` in `config.json` -> the exporter of its family."""


def export(checkpoint: str, folder: Path, options: Options = Options()) -> Measurements:
    """Make and prove the artifact in `folder`. The manifest is written last.

    Raises ArtifactError if weights of the checkpoint are missing, the artifact cannot be made, or a proof fails, and
    DataError if there is nothing to prove on.
    """
    source = find_model_folder(checkpoint, REFERENCE, options.language_model)
    opened = open_model(source)  # refuses a checkpoint that cannot be served, before anything is changed
    exporter = EXPORTERS[opened.artifact.read_json(CONFIG_NAME)["model_type"]]
    sets = load_sets(options)
    if options.adopt:
        exporter.check_adoptable(folder)
    model = exporter.load(source)
    folder.mkdir(parents=True, exist_ok=True)
    before = take_manifest(folder)
    origin = {"source": checkpoint, "revision": revision_of(source)}
    if source.resolve() == folder.resolve():  # the artifact contains the checkpoint, which came from elsewhere
        origin |= {key: before[key] for key in origin if key in before}
    copied = [name for name in exporter.settings_files if options.language_model or name != LANGUAGE_MODEL_FOLDER]
    copy_settings(source, folder, copied, keep=options.adopt)
    if options.with_checkpoint:
        model.half().save_pretrained(folder)
        source = folder
        model = exporter.load(source)
    quantization = exporter.make(model, folder, options, before)
    del model  # the backends load their own copy
    if options.openvino:
        exporter.make_openvino(source, folder, options)

    opened = open_model(folder)
    recognizers = load_all(exporter, open_model(source), opened, options.openvino)
    limits = {**exporter.limits, REFERENCE: (Limit("wer", "at most", options.max_reference_wer),)}
    if options.fp16:
        limits[FP32_BACKEND] = ROUNDED
    workers = len(os.sched_getaffinity(0))
    measured = prove(opened.family, recognizers, sets, limits, options.language, workers)
    more = exporter.prove(source, opened, recognizers, sets, options, workers, measured.errors)
    measured = replace(measured, proofs=measured.proofs + more.proofs)
    print_proofs(measured)
    if measured.failed and not options.allow_unproven:
        raise ArtifactError("; ".join([*map(str, measured.failed), *hints(measured)]))

    latency = measure_latency(more.recognizers, clip_of(sets, LATENCY_CLIP_S, opened.family.rate_hz), THREADS)
    name = options.name or (options.adopt and before.get("name")) or folder.resolve().name
    clips = collect_evidence(opened.artifact, more.recognizers)
    manifest = describe(folder, str(name), {**origin, **more.entries}, quantization, measured, clips, latency)
    print(write_manifest(folder, manifest))
    return measured


def load_sets(options: Options) -> dict[str, SpeechRows]:
    """Name of a set -> its rows to prove on. Raises DataError if there are none."""
    if not options.eval_manifests:
        return {"samples": load_eval_set(str(SAMPLES / "manifest.jsonl"), options.eval_limit)}
    columns = options.audio_column, options.text_column
    return {name: load_eval_set(name, options.eval_limit, None, *columns) for name in options.eval_manifests}


def load_all(exporter: Exporter, checkpoint: Model, exported: Model, needs_openvino: bool) -> dict[str, AnyRecognizer]:
    """Backend -> recognizer: the reference and the exported backends. Raises ArtifactError if one does not run.

    OpenVINO is included if it is installed. needs_openvino: if it cannot load the model, that is an error too.
    """
    recognizers = {}
    also = (OPENVINO,) if all(map(find_spec, BACKENDS[OPENVINO].packages)) else ()
    for backend in (REFERENCE, *PROVEN_BACKENDS, *also):
        model = checkpoint if backend == REFERENCE else exported
        try:
            recognizer = load_recognizer(model, backend, THREADS)
        except ArtifactError as error:
            if backend in also and not needs_openvino:
                print(f"{backend} is not proven, because it cannot load the model: {error}")
                continue
            raise
        try:
            warm_up(recognizer, model.artifact)
            exporter.check(recognizer)
        except ArtifactError as error:
            raise ArtifactError(f"{backend}: {error}") from error
        recognizers[backend] = recognizer
    return recognizers


def clip_of(sets: Mapping[str, SpeechRows], duration_s: float, rate_hz: int) -> Samples:
    """The first clips of the first set, concatenated, repeated if necessary, and cut to `duration_s`.

    Returns samples of shape (samples,), float32.
    """
    rows = next(iter(sets.values()))
    wanted = int(duration_s * rate_hz)
    parts: list[Samples] = []
    for index in range(len(rows)):
        if sum(map(len, parts)) >= wanted:
            break
        parts.append(rows.samples(index, rate_hz))
    return np.resize(np.concatenate(parts), wanted)


def print_proofs(measured: Measurements) -> None:
    """Print the error rates of every backend on every set, and all proofs."""
    print("\n| set | clips | backend | WER | CER |\n|---|---|---|---|---|")
    for name, backends in measured.accuracy.items():
        for backend, figures in backends.items():
            print(f"| {name} | {figures.clips} | {backend} | {figures.wer} | {figures.cer} |")
    print()
    for proof in measured.proofs:
        print(f"{'proven' if proof.passed else 'FAILED'}: {proof}")
    if (clips := measured.parity[FP32_BACKEND].clips) < DECIDING_CLIPS:
        print(f"(Error rates of {clips} clips are rough. Use --eval_manifest with {DECIDING_CLIPS} clips or more.)")


def hints(measured: Measurements) -> list[str]:
    """Advice for proofs that failed for a known reason."""
    if any(proof.backend == REFERENCE for proof in measured.failed):
        return [
            "the checkpoint itself does not recognize this speech: prove it on speech of its own language with the "
            "right texts (--eval_manifest, --text_column), or raise --max_reference_wer"
        ]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", required=True, help="checkpoint folder or hub id")
    parser.add_argument("--onnx_dir", type=Path, required=True, help="artifact folder to make")
    parser.add_argument("--name", default="", help="name of the model in answers (default: that of the folder)")
    parser.add_argument(
        "--eval_manifest",
        nargs="+",
        default=(),
        help="manifests, folders or hub ids to prove on (default: the bundled samples)",
    )
    parser.add_argument("--eval_limit", type=int, help="use only the first EVAL_LIMIT clips of each set")
    parser.add_argument("--audio_column", help="audio column of these sets (default: detected)")
    parser.add_argument("--text_column", help="text column of these sets (default: detected)")
    parser.add_argument("--language", default="tr", help="ISO 639-1 code of these sets")
    parser.add_argument("--adopt", action="store_true", help="prove existing ONNX files, and make only missing ones")
    parser.add_argument(
        "--layout",
        choices=get_args(Layout),
        default="dikte",
        help="for Whisper: make Dikte's own files, or those of optimum, which ORTModelForSpeechSeq2Seq loads too; with "
        "--adopt, the layout is that of the existing files (default: %(default)s)",
    )
    parser.add_argument(
        "--fp16", action="store_true", help="store the weights of the FP32 files in half precision, at half the size"
    )
    parser.add_argument(
        "--quantization",
        choices=("dynamic", "static"),
        default="dynamic",
        help="take the ranges of INT8 activations from each run, or from calibration clips",
    )
    parser.add_argument(
        "--calibration",
        default="",
        help="speech to calibrate static INT8 and OpenVINO INT8 on; it should resemble the speech that will be served "
        "(default: samples/, which suffices to try it)",
    )
    parser.add_argument(
        "--keep_float",
        nargs="+",
        default=(),
        metavar="PATTERN",
        help="products that are not quantized, such as '*/head/*'",
    )
    parser.add_argument(
        "--weight_bits",
        type=int,
        choices=get_args(LayerBits),
        default=7,
        help="bits of INT8 weights: 7 are exact on every CPU, 8 only on CPUs with VNNI or AMX; with 4, the linear "
        "layers of a CTC model have 4 bits in model_int8.onnx, and compute in float32 (default: 7)",
    )
    parser.add_argument(
        "--language_model",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="copy the language model of a CTC checkpoint that has one, and prove the artifact with it, too",
    )
    parser.add_argument("--openvino", action="store_true", help="make INT8 for ASR_BACKEND=openvino too")
    parser.add_argument(
        "--with_checkpoint", action="store_true", help="add the checkpoint to the artifact, in half precision"
    )
    parser.add_argument(
        "--max_reference_wer",
        type=wer_limit,
        default=MAX_REFERENCE_WER,
        help="largest word error rate of the checkpoint itself; above it, the proofs fail; 0.5 is 50 %% "
        "(default: %(default)s)",
    )
    parser.add_argument("--allow_unproven", action="store_true", help="write the manifest even if a proof fails")
    arguments = parser.parse_args()
    options = Options(
        name=arguments.name,
        eval_manifests=tuple(arguments.eval_manifest),
        eval_limit=arguments.eval_limit,
        audio_column=arguments.audio_column,
        text_column=arguments.text_column,
        language=arguments.language,
        adopt=arguments.adopt,
        layout=arguments.layout,
        fp16=arguments.fp16,
        with_checkpoint=arguments.with_checkpoint,
        max_reference_wer=arguments.max_reference_wer,
        allow_unproven=arguments.allow_unproven,
        quantization=Quantization(arguments.quantization, tuple(arguments.keep_float), arguments.weight_bits),
        calibration=arguments.calibration,
        openvino=arguments.openvino,
        language_model=arguments.language_model,
    )
    try:
        measured = export(arguments.checkpoint_dir, arguments.onnx_dir, options)
    except (ArtifactError, DataError) as error:
        sys.exit(f"export failed: {error}")
    override = ""
    if measured.failed:
        print("\nUNPROVEN: the service refuses this artifact unless ASR_ALLOW_UNPROVEN=true.", file=sys.stderr)
        override = "ASR_ALLOW_UNPROVEN=true "
    print(f"Serve it: {override}ASR_MODEL_DIR={arguments.onnx_dir} make serve")


if __name__ == "__main__":
    main()
