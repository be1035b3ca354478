"""Read a file with libsndfile."""

from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from app.audio.blocks import BLOCK_FRAMES, Block, Source


def open_sndfile(file: BinaryIO) -> Source | None:
    """The opened file, or None if libsndfile does not know what it is."""
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, ValueError):
        return None
    length_s = sound.frames / sound.samplerate if sound.samplerate > 0 else None
    return Source(sound.samplerate, sound.channels, length_s, sndfile_blocks(sound))


def sndfile_blocks(sound: soundfile.SoundFile) -> Iterator[Block]:
    """What can be decoded. The file is closed at the end."""
    with sound:
        while True:
            try:
                samples = sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                return  # broken from here on: what came before stands
            if not len(samples):
                return
            yield Block(samples, sound.samplerate)
