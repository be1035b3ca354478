"""Read a file with libsndfile."""

from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from app.audio.blocks import BLOCK_FRAMES, Block, Source
from app.audio.views import View


def open_sndfile(file: BinaryIO) -> Source | None:
    """The opened file, or None if libsndfile does not know what it is."""
    view = View(file)  # whose `seek` does not raise: the error would be printed, and nothing else
    try:
        sound = soundfile.SoundFile(view)
    except (soundfile.LibsndfileError, ValueError):
        return None
    if sound.subtype.startswith("MPEG"):  # in WAV; what is broken of it would be told on stderr, packet by packet
        sound.close()
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
