"""Make stereo recordings with espeak-ng, whose channels are the two sides of a call, or one room, or music.

    python scripts/tools/call_recordings.py --out data/calls

`scripts/tools/channels_report.py` measures with them how `channels=auto` decides. Needs espeak-ng
(`apt-get install espeak-ng`).
"""

import argparse
import io
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from scripts.training.augment import (
    Samples,
    add_room,
    colored_noise,
    rms,
    room_response,
    through_telephone,
)

RATE_HZ = 16_000
VOICES = (("tr+f2", "tr+m3"), ("tr+f5", "tr+m1"), ("tr+m2", "tr+m7"), ("tr+f1", "tr+f4"))
"""Pairs of voices of espeak-ng; the third and fourth are alike."""
TURNS = (
    ("iyi günler size nasıl yardımcı olabilirim", "merhaba geçen ayki faturam hakkında bilgi almak istiyorum"),
    ("elbette müşteri numaranızı alabilir miyim", "numaram beş sekiz iki dört yedi"),
    ("teşekkür ederim hemen kontrol ediyorum lütfen hatta kalın", "tamam bekliyorum"),
    ("faturanızda ek bir paket görünüyor onaylamış mıydınız", "hayır ben böyle bir paket istemedim"),
    ("o zaman iptal edelim tutar hesabınıza geri yatacak", "ne kadar sürer acaba"),
    ("en geç üç iş günü içinde iade edilir", "peki çok teşekkür ederim iyi çalışmalar"),
)
"""What the two sides of a call say, in turn."""

Stereo = NDArray[np.float32]
"""Shape (samples, 2), float32, at `RATE_HZ`."""


@dataclass(frozen=True)
class Call:
    """One track for each side, of equal length: left and right, shape (samples,), float32, at `RATE_HZ`.

    left_text, right_text: what they say.
    """

    left: Samples
    right: Samples
    left_text: str
    right_text: str

    @property
    def stereo(self) -> Stereo:
        """Both sides as channels."""
        return np.stack([self.left, self.right], axis=1)


def speak(text: str, voice: str, speed_wpm: int = 150) -> Samples:
    """A text read by espeak-ng, shape (samples,), float32, at `RATE_HZ`, at -20 dB of full scale."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed_wpm), "--stdout", "--stdin"]
    made = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    samples, rate_hz = soundfile.read(io.BytesIO(made.stdout), dtype="float32")
    speech = np.asarray(soxr.resample(samples, rate_hz, RATE_HZ), dtype=np.float32)
    return speech * np.float32(0.1 / rms(speech))


def make_call(voices: tuple[str, str] = VOICES[0], overlap: float = 0.2, repeats: int = 1) -> Call:
    """A call of two voices. overlap: see `arrange`."""
    turns = [(side, speak(text, voices[side]), text) for turn in TURNS * repeats for side, text in enumerate(turn)]
    return arrange(turns, overlap)


def arrange(turns: Sequence[tuple[int, Samples, str]], overlap: float) -> Call:
    """A call of turns: side (0 or 1), speech of shape (samples,), float32, and its text.

    overlap: share of a turn that the next one covers; below 0 for pauses.
    """
    starts = np.cumsum([RATE_HZ // 2, *(round(len(speech) * (1 - overlap)) for _, speech, _ in turns)]).tolist()
    end = max(start + len(speech) for start, (_, speech, _) in zip(starts, turns, strict=False))
    tracks = [np.zeros(end + RATE_HZ // 2, dtype=np.float32) for _ in range(2)]
    for start, (side, speech, _) in zip(starts, turns, strict=False):
        tracks[side][start : start + len(speech)] += speech
    texts = [" ".join(text for turn, _, text in turns if turn == side) for side in range(2)]
    return Call(tracks[0], tracks[1], *texts)


def amplified(samples: Samples, gain_db: float) -> Samples:
    """Louder or, below 0 dB, quieter."""
    return samples * np.float32(10 ** (gain_db / 20))


def delayed(samples: Samples, delay_s: float) -> Samples:
    """Later, at the same length."""
    shift = round(delay_s * RATE_HZ)
    return np.pad(samples, (shift, 0))[: len(samples)] if shift else samples


def with_crosstalk(call: Call, gain_db: float, delay_s: float = 0.0) -> Stereo:
    """Each side with a faint copy of the other."""
    left = call.left + delayed(amplified(call.right, gain_db), delay_s)
    right = call.right + delayed(amplified(call.left, gain_db), delay_s)
    return np.stack([left, right], axis=1)


def with_noise(stereo: Stereo, snr_db: float, seed: int = 0) -> Stereo:
    """Pink noise, of its own in each channel, `snr_db` below the louder channel."""
    random = np.random.default_rng(seed)
    level = max(rms(channel) for channel in stereo.T) * 10 ** (-snr_db / 20)
    noises = [colored_noise(random, len(stereo), 1.0) for _ in stereo.T]
    return stereo + np.stack([noise * np.float32(level / rms(noise)) for noise in noises], axis=1)


def panned(call: Call, ratio_db: float) -> Stereo:
    """Both voices in both channels, each louder in its own by `ratio_db`."""
    return with_crosstalk(call, -ratio_db)


def two_microphones(call: Call, ratio_db: float, reverberant: bool, seed: int = 0) -> Stereo:
    """Two speakers in a room, each nearer to one of two microphones, which hear the other later and quieter."""
    stereo = with_crosstalk(call, -ratio_db, 0.003)
    if not reverberant:
        return stereo
    random = np.random.default_rng(seed)
    return np.stack([add_room(channel, room_response(random)) for channel in stereo.T], axis=1)


def widened(samples: Samples, seed: int = 0) -> Stereo:
    """Pseudo-stereo: a copy with random phases, so that the waveforms of the channels hardly correlate."""
    random = np.random.default_rng(seed)
    response = (random.standard_normal(400) * np.exp(-np.arange(400) / 100)).astype(np.float32)
    copy = add_room(samples, response / np.float32(np.linalg.norm(response)))
    return np.stack([samples, copy], axis=1)


def music(length: int, seed: int = 0, spread: float = 0.7) -> Stereo:
    """Plucked notes, each at its own place between left and right, over a bass and a beat in the middle."""
    random = np.random.default_rng(seed)
    song = np.zeros((length, 2), dtype=np.float32)
    for start in range(0, length, RATE_HZ // 4):
        count = min(RATE_HZ, length - start)
        time_s = np.arange(count) / RATE_HZ
        place = 0.5 + spread * (random.random() - 0.5)
        note = np.sin(2 * np.pi * 220 * 2 ** (random.integers(0, 24) / 12) * time_s) * np.exp(-4 * time_s)
        bass = 0.5 * np.sin(2 * np.pi * 55 * 2 ** (random.integers(0, 5) / 12) * time_s) * np.exp(-2 * time_s)
        beat = 0.3 * random.standard_normal(count) * np.exp(-60 * time_s)
        song[start : start + count] += 0.15 * (
            np.outer(note, [np.sqrt(1 - place), np.sqrt(place)]) + (bass + beat)[:, np.newaxis]
        )
    return song


def through_file(stereo: Stereo, container: str, subtype: str, level: float) -> Stereo:
    """Encoded by libsndfile and decoded. level: from 0, the best quality, to 1, the smallest file."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", RATE_HZ, 2, subtype, format=container, compression_level=level) as sound:
        sound.write(stereo * np.float32(min(1.0, 0.9 / max(1e-9, float(np.abs(stereo).max())))))
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32", always_2d=True)[0], dtype=np.float32)


def by_channel(stereo: Stereo, change: Callable[[Samples], Samples]) -> Stereo:
    """Each channel changed by itself."""
    return np.stack([change(np.ascontiguousarray(channel)) for channel in stereo.T], axis=1)


@dataclass(frozen=True)
class Recording:
    """A made recording. separate: whether its channels are two sides, which `channels=auto` must find."""

    name: str
    stereo: Stereo
    separate: bool


def recordings(voices: tuple[str, str] = VOICES[0], repeats: int = 1) -> Sequence[Recording]:
    """All variants of a call of two voices."""
    return variants(*(make_call(voices, overlap, repeats) for overlap in (0.2, 0.6, -0.3)))


def variants(call: Call, crowded: Call, calm: Call) -> Sequence[Recording]:
    """Calls, and what is none, in the variants that telephone systems, microphones and codecs make.

    call: with some overlap. crowded: with 60 %. calm: with pauses.
    """
    mono = call.left + call.right
    random = np.random.default_rng(1)
    quiet = Call(call.left, amplified(call.right, -15), call.left_text, call.right_text)
    copy = np.stack([mono, mono], axis=1)
    one_voice = np.stack([call.left, np.zeros_like(call.left)], axis=1)
    mp3, opus, vorbis = ("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS"), ("OGG", "VORBIS")
    song = music(len(mono))

    def telephone(samples: Samples) -> Samples:
        return through_telephone(samples, mu_law=True)

    two = {
        "call, 20 % overlap": call.stereo,
        "call, 60 % overlap": crowded.stereo,
        "call, pauses": calm.stereo,
        "call, one side 15 dB quieter": quiet.stereo,
        "call, noise at -30 dB": with_noise(call.stereo, 30),
        "call, noise at -20 dB": with_noise(call.stereo, 20),
        "call, crosstalk at -20 dB": with_crosstalk(call, -20),
        "call, crosstalk at -20 dB, 60 % overlap": with_crosstalk(crowded, -20),
        "call, crosstalk at -30 dB after 150 ms": with_crosstalk(call, -30, 0.15),
        "call, crosstalk at -40 dB, noise at -30 dB": with_noise(with_crosstalk(call, -40), 30),
        "call, pauses, crosstalk at -25 dB": with_crosstalk(calm, -25),
        "call, G.711": by_channel(call.stereo, telephone),
        "call, G.711, crosstalk at -25 dB": by_channel(with_crosstalk(call, -25), telephone),
        "call, MP3, smallest": through_file(call.stereo, *mp3, 0.99),
        "call, MP3": through_file(call.stereo, *mp3, 0.5),
        "call, Opus, 60 % overlap": through_file(crowded.stereo, *opus, 0.6),
        "call, Vorbis": through_file(call.stereo, *vorbis, 0.8),
    }
    one = {
        "copy": copy,
        "copy, one channel 12 dB quieter": np.stack([mono, amplified(mono, -12)], axis=1),
        "copy, inverted": np.stack([mono, -mono], axis=1),
        "copy, noise at -25 dB": with_noise(copy, 25),
        "copy, noise at -10 dB": with_noise(copy, 10),
        "copy, 1 ms later": np.stack([mono, delayed(mono, 0.001)], axis=1),
        "copy, 20 ms later": np.stack([mono, delayed(mono, 0.02)], axis=1),
        "copy, MP3, smallest": through_file(copy, *mp3, 0.99),
        "call, Opus, so small that it is mono": through_file(call.stereo, *opus, 0.99),
        "copy, Opus, smallest": through_file(copy, *opus, 0.99),
        "copy, G.711 of 6 dB less": np.stack([telephone(mono), telephone(amplified(mono, -6))], axis=1),
        "widened": widened(mono),
        "panned by 3 dB": panned(call, 3),
        "panned by 6 dB": panned(call, 6),
        "panned by 9 dB": panned(call, 9),
        "two microphones, 6 dB apart": two_microphones(call, 6, reverberant=False),
        "two microphones, 10 dB apart": two_microphones(call, 10, reverberant=False),
        "two microphones, 6 dB apart, reverberation": two_microphones(call, 6, reverberant=True),
        "two microphones, 10 dB apart, reverberation": two_microphones(call, 10, reverberant=True),
        "music": song,
        "music, wide": music(len(mono), spread=1.0),
        "voices in the middle of music": copy + song,
        "voice on music, MP3": through_file(copy + song, *mp3, 0.9),
        "one channel silent": one_voice,
        "one channel noise": with_noise(one_voice, 30),
        "both channels noise": (0.01 * random.standard_normal((len(mono), 2))).astype(np.float32),
        "silence": np.zeros((len(mono), 2), dtype=np.float32),
    }
    return [
        *(Recording(name, stereo, separate=True) for name, stereo in two.items()),
        *(Recording(name, stereo, separate=False) for name, stereo in one.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the WAV files")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for recording in recordings():
        name = recording.name.replace(",", "").replace(" ", "_")
        soundfile.write(arguments.out / f"{name}.wav", recording.stereo, RATE_HZ)
    print(f"the recordings are in {arguments.out}")


if __name__ == "__main__":
    main()
