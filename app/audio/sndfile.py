"""Reads a file with libsndfile."""

from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from app.audio.blocks import BLOCK_FRAMES, Block, Source
from app.audio.views import View


def open_sndfile(file: BinaryIO) -> Source | None:
    """The opened file, or None if libsndfile cannot read it."""
    view = View(file)  # its `seek` never raises; an exception in a callback would only be printed
    try:
        opened = soundfile.SoundFile(view)
    except (soundfile.LibsndfileError, ValueError):
        return None
    if opened.subtype.startswith("MPEG"):  # MPEG in WAV: libsndfile prints every broken packet to stderr
        opened.close()
        return None
    length_s = opened.frames / opened.samplerate if opened.samplerate > 0 else None
    return Source(opened.samplerate, opened.channels, length_s, sndfile_blocks(opened))


def sndfile_blocks(opened: soundfile.SoundFile) -> Iterator[Block]:
    """The decodable audio. Closes the file at the end."""
    with opened:
        while True:
            try:
                samples = opened.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                return  # broken from here on; keep what came before
            if not len(samples):
                return
            yield Block(samples, opened.samplerate)
