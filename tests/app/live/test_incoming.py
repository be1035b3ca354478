import asyncio
import io

import numpy as np
import pytest
import soundfile

from app.audio.blocks import Block
from app.errors import InvalidParameter
from app.live.backlog import Backlog
from app.live.incoming import AnyContainer, Encoding, RawAudio, RawConverter, blocks_of
from tests.sounds import ENCODINGS, speechlike

SUBTYPES: dict[Encoding, str] = {
    "s16le": "PCM_16", "s32le": "PCM_32", "f32le": "FLOAT", "mulaw": "ULAW", "alaw": "ALAW",
}  # fmt: skip


@pytest.mark.parametrize("encoding", SUBTYPES)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_as_libsndfile_reads_it_whatever_the_pieces(encoding: Encoding, size: int) -> None:
    stereo = np.stack([speechlike(0.1), -speechlike(0.1)], axis=1)
    file = io.BytesIO()
    soundfile.write(file, stereo, 16_000, format="RAW", subtype=SUBTYPES[encoding], endian="LITTLE")
    data = file.getvalue()
    expected, _ = soundfile.read(
        io.BytesIO(data), format="RAW", subtype=SUBTYPES[encoding], samplerate=16_000, channels=2, dtype="float32",
        endian="LITTLE",
    )  # fmt: skip
    convert = RawConverter(RawAudio(encoding, 16_000, 2))
    blocks = [convert(data[start : start + size]).samples for start in range(0, len(data), size)]
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-7)


def test_every_byte_of_the_laws() -> None:
    for encoding in ("mulaw", "alaw"):
        data = bytes(range(256))
        expected, _ = soundfile.read(
            io.BytesIO(data), format="RAW", subtype=SUBTYPES[encoding], samplerate=8000, channels=1, dtype="float32"
        )
        np.testing.assert_array_equal(RawConverter(RawAudio(encoding, 8000))(data).samples[:, 0], expected)


@pytest.mark.parametrize("name", ["wav s16", "flac 16", "webm opus, live", "ogg opus by ffmpeg"])
@pytest.mark.parametrize("size", [100, 4000, 1 << 20])
def test_a_container_gives_all_its_samples(name: str, size: int) -> None:
    data = ENCODINGS[name](speechlike(2.0), 16_000)

    async def run() -> float:
        backlog = Backlog()
        for start in range(0, len(data), size):
            await backlog.put(data[start : start + size])
        backlog.end()
        blocks = [block async for block in blocks_of(AnyContainer(), backlog, 8) if isinstance(block, Block)]
        return sum(len(block.samples) / block.rate_hz for block in blocks)

    assert asyncio.run(run()) == pytest.approx(2.0, abs=0.025)


@pytest.mark.parametrize(("rate_hz", "channels"), [(0, 1), (10**9, 1), (8000, 0)])
def test_impossible_audio_is_refused(rate_hz: int, channels: int) -> None:
    with pytest.raises(InvalidParameter):
        RawAudio("s16le", rate_hz, channels)
