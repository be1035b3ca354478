"""Synthesize a text file with espeak-ng, to a folder of clips and a manifest for `train.py` and `evaluate.py`.

    python scripts/tools/synthesize.py --text sentences.txt --out data/train --voices training --clips_per_text 3
    python scripts/tools/synthesize.py --text held_out.txt --out data/unseen_voices --voices held_out
    python scripts/tools/synthesize.py --text held_out.txt --out data/noisy --sound noisy

Each clip has a random voice, speed, pitch and word gap, which depend on the seed and the sentence, and its name is a
hash of them. So a run that was interrupted, or that has more sentences, makes only the missing clips. Needs espeak-ng
(`apt-get install espeak-ng`).
"""

import argparse
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from scripts.training.augment import (
    Samples,
    add_noise,
    add_room,
    colored_noise,
    room_response,
    through_codec,
    through_telephone,
)

SAMPLE_RATE_HZ = 16_000
HELD_OUT_VOICES = ("f4", "m6", "Andrea", "Mario", "linda", "klatt4", "steph", "victor")
"""Voices that are never trained on. The WER for "held-out voices" in a model card is measured on them."""
NOISY_SNR_DB = 10.0
NOT_SPEECH = ("fast", "announcer")
"""Variants that only change the speed, or are unintelligible."""


@dataclass(frozen=True)
class Utterance:
    """One clip to synthesize.

    audio: path of the clip, relative to the manifest. pitch: 0 to 99. word_gap: in units of 10 ms. sound: a key of
    `SOUNDS`.
    """

    audio: str
    text: str
    voice: str
    speed_wpm: int
    pitch: int
    word_gap: int
    sound: str


def in_noise(samples: Samples, random: np.random.Generator) -> Samples:
    """Add noise of a random color, from white to brown, 10 dB below the speech."""
    return add_noise(samples, colored_noise(random, len(samples), random.uniform(0.0, 2.0)), NOISY_SNR_DB)


def in_noisy_room(samples: Samples, random: np.random.Generator) -> Samples:
    """Add a random room, and then noise."""
    return in_noise(add_room(samples, room_response(random)), random)


SOUNDS: dict[str, Callable[[Samples, np.random.Generator], Samples]] = {
    "clean": lambda samples, _: samples,
    "noise": in_noise,
    "noisy": in_noisy_room,
    "telephone": lambda samples, _: through_telephone(samples, mu_law=True),
    "mp3": lambda samples, random: through_codec(samples, "MP3", "MPEG_LAYER_III", random.uniform(0.5, 1.0)),
}
"""Name -> acoustic condition or channel that is applied to the speech."""


def installed_voices() -> list[str]:
    """Names of the voice variants of espeak-ng, sorted."""
    listing = subprocess.run(
        ["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1:]
    names = {line.partition("!v/")[2].strip() for line in listing if "!v/" in line}  # one of them is "Mr serious"
    return sorted(names - set(NOT_SPEECH))


def choose_voices(which: str) -> list[str]:
    """The voice variants for `training`, `held_out`, `all`, or a list of names that are separated by commas."""
    voices = installed_voices()
    if which == "training":
        return [voice for voice in voices if voice not in HELD_OUT_VOICES]
    if which == "held_out":
        return list(HELD_OUT_VOICES)
    if which == "all":
        return voices
    return which.split(",")


def plan(
    texts: list[str], voices: list[str], language: str, clips_per_text: int, seed: int, sound: str = "clean"
) -> list[Utterance]:
    """All clips of a run. The name of a clip is a hash of everything that it depends on."""
    utterances = []
    for text in dict.fromkeys(texts):
        random = Random(f"{seed} {text}")
        for voice in random.sample(voices, k=min(clips_per_text, len(voices))):
            speed_wpm = round(random.triangular(100, 240, 160))
            pitch = round(random.triangular(5, 95, 50))
            word_gap = random.choice((0, 0, 0, 1, 2, 4))
            how = f"{language} {voice} {speed_wpm} {pitch} {word_gap}" + (f" {sound}" if sound != "clean" else "")
            name = sha256(f"{how} {text}".encode()).hexdigest()
            audio = f"clips/{name[:2]}/{name[:16]}.wav"
            utterances.append(Utterance(audio, text, voice, speed_wpm, pitch, word_gap, sound))
    return utterances


def speak(utterance: Utterance, language: str, folder: Path) -> float:
    """Synthesize the clip if it does not exist yet. Returns its duration in seconds."""
    path = folder / utterance.audio
    if path.exists():
        return float(soundfile.info(path).duration)
    voice = f"{language}+{utterance.voice}"
    settings = ["-v", voice, "-s", utterance.speed_wpm, "-p", utterance.pitch, "-g", utterance.word_gap]
    wave = subprocess.run(
        ["espeak-ng", *map(str, settings), "--stdout", "--stdin"],
        input=utterance.text.encode(),
        capture_output=True,
        check=True,
    ).stdout
    samples, rate_hz = soundfile.read(io.BytesIO(wave), dtype="float32")
    random = np.random.default_rng(list(utterance.audio.encode()))
    samples = SOUNDS[utterance.sound](soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ), random)
    samples = samples / max(1.0, float(np.abs(samples).max(initial=0.0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")  # so that a clip with its final name is complete
    soundfile.write(partial, samples, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
    partial.replace(path)
    return len(samples) / SAMPLE_RATE_HZ


def synthesize(utterances: list[Utterance], language: str, folder: Path, workers: int) -> Path:
    """Synthesize all clips, `workers` at a time, and write `manifest.jsonl`. Returns its path."""
    with ThreadPoolExecutor(workers) as pool:
        durations = list(
            tqdm(
                pool.map(lambda utterance: speak(utterance, language, folder), utterances),
                total=len(utterances),
                unit="clip",
            )
        )
    manifest = folder / "manifest.jsonl"
    with manifest.open("w", encoding="utf-8") as lines:
        for utterance, duration in zip(utterances, durations, strict=True):
            lines.write(json.dumps(asdict(utterance) | {"duration": round(duration, 3)}, ensure_ascii=False) + "\n")
    print(f"{len(utterances)} clips, {sum(durations) / 3600:.2f} hours: {manifest}")
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text file, one sentence per line")
    parser.add_argument("--out", type=Path, required=True, help="folder for clips/ and manifest.jsonl")
    parser.add_argument("--voices", default="training", help="training, held_out, all, or names separated by commas")
    parser.add_argument("--sound", choices=tuple(SOUNDS), default="clean", help="acoustic condition or channel")
    parser.add_argument("--language", default="tr", help="espeak-ng language code")
    parser.add_argument("--clips_per_text", type=int, default=1, help="clips per sentence, each with another voice")
    parser.add_argument("--limit", type=int, help="synthesize only the first LIMIT sentences")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="clips that are synthesized at once"
    )
    arguments = parser.parse_args()

    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng is not installed: apt-get install espeak-ng")
    texts = [line.strip() for line in arguments.text.read_text(encoding="utf-8").splitlines() if line.strip()]
    voices = choose_voices(arguments.voices)
    utterances = plan(
        texts[: arguments.limit], voices, arguments.language, arguments.clips_per_text, arguments.seed, arguments.sound
    )
    print(f"Synthesizing {len(utterances)} clips with {len(voices)} voices to {arguments.out}")
    synthesize(utterances, arguments.language, arguments.out, arguments.workers)


if __name__ == "__main__":
    main()
