import io
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from av.stream import Disposition

from app.audio import AudioLimits, Waveform, decode, ffmpeg
from app.audio.blocks import BLOCK_FRAMES
from app.audio.mpeg import parse_frame
from app.errors import InvalidAudio, UnsupportedMedia
from tests.sounds import ENCODINGS, MODEL_HZ, by_ffmpeg, speechlike, tone

ROOT = Path(__file__).resolve().parents[3]
LIMITS = AudioLimits(max_duration_s=600.0, max_decoded_bytes=1 << 30, max_channels=8)
RATE_HZ = 48_000
TRACK_S = 1.3


def read(data: bytes, meter: Callable[[float], object] = lambda seconds: None) -> Waveform:
    return decode(io.BytesIO(data), MODEL_HZ, LIMITS, meter)


# Which track


class Track(NamedTuple):
    """A sound track: what is heard, in which codec, and whether it is the default one."""

    pitch_hz: int
    codec: str = "aac"
    default: bool = False


def film(container: str, tracks: list[Track], picture: bool = False) -> bytes:
    """`TRACK_S` of sound in each track."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        streams = []
        for track in tracks:
            stream = output.add_stream(track.codec, rate=RATE_HZ, layout="mono")
            stream.disposition = Disposition.default if track.default else Disposition(0)
            assert isinstance(stream, av.AudioStream)
            streams.append(stream)
        video = output.add_stream("mpeg4", rate=10) if picture else None
        if isinstance(video, av.VideoStream):
            video.width = video.height = 64
            for number in range(round(TRACK_S * 10)):
                black = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8), format="rgb24")
                black.pts = number
                output.mux(video.encode(black))
            output.mux(video.encode(None))
        for track, stream in zip(tracks, streams, strict=True):
            sound = tone(track.pitch_hz, TRACK_S, RATE_HZ, amplitude=0.5 if track.pitch_hz else 0.0)
            frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
            for part in (frame, None):
                output.mux(stream.encode(part))
    return file.getvalue()


def pitch_hz(waveform: Waveform) -> int:
    assert waveform.duration_s == pytest.approx(TRACK_S, abs=0.1)
    return int(np.abs(np.fft.rfft(waveform.samples[4_000:][:MODEL_HZ])).argmax())


CONTAINERS = ["mp4", "mov", "matroska"]
UNREADABLE, SILENT = Track(440, "ac3"), Track(0)


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "tracks",
    [
        [Track(1_000), Track(440)],
        [UNREADABLE, Track(1_000)],
        [UNREADABLE._replace(default=True), Track(1_000), Track(440)],
        [Track(440), Track(1_000, default=True)],
        [SILENT, Track(1_000, default=True)],
        [Track(440), UNREADABLE, Track(1_000, default=True)],
        [UNREADABLE, Track(440), Track(1_000, default=True), Track(660, default=True)],
    ],
)
def test_the_default_track_or_else_the_first_that_can_be_read(
    container: str, tracks: list[Track], picture: bool
) -> None:
    assert pitch_hz(read(film(container, tracks, picture))) == 1_000


@pytest.mark.parametrize("container", CONTAINERS)
def test_no_track_that_can_be_read(container: str) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        read(film(container, [UNREADABLE, UNREADABLE._replace(default=True)]))
    assert caught.value.details == {"codec": "ac3"}


# Which codecs


@pytest.mark.parametrize("name", sorted(ffmpeg.CODECS))
def test_every_codec_on_the_list_can_be_decoded(name: str) -> None:
    assert av.Codec(name, "r").type == "audio"


# Layouts of channels


def with_channel_labels(mov: bytes, labels: list[int]) -> bytes:
    """The MOV file, whose `chan` atom now names its channels one by one (QuickTime File Format; CoreAudioTypes.h)."""
    place = mov.index(b"chan") - 4
    end = place + int.from_bytes(mov[place : place + 4], "big")
    names = b"".join(struct.pack(">IIfff", label, 0, 0, 0, 0) for label in labels)
    atom = struct.pack(">I4sIIII", 24 + len(names), b"chan", 0, 0, 0, len(labels)) + names
    more = len(atom) - (end - place)
    data = bytearray(mov[:place] + atom + mov[end:])
    sizes = [mov.index(name) - 4 for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")]
    for size in (*sizes, mov.index(b"stsd") + 12):  # the last: of the description in it
        data[size : size + 4] = (int.from_bytes(mov[size : size + 4], "big") + more).to_bytes(4, "big")
    return bytes(data)


RIGHT, LEFT, CENTER = 2, 1, 3


@pytest.mark.parametrize("labels", [[LEFT, RIGHT], [RIGHT, LEFT], [CENTER, CENTER], [RIGHT, 0xFFFFFFFF]])
def test_channels_in_an_unusual_order_do_not_end_the_process(labels: list[int], tmp_path: Path) -> None:
    """In a process of its own, for PyAV would have freed memory twice."""
    sound = speechlike(0.5)
    mov = by_ffmpeg(sound, MODEL_HZ, "mov", "pcm_s16le", "stereo")  # its index is behind the sound
    path = tmp_path / "sound.mov"
    path.write_bytes(with_channel_labels(mov, labels))
    code = f"""
import av
from app.audio import AudioLimits, decode
from app.audio.ffmpeg import UNUSUAL_LAYOUT
for _ in range(30):
    with open({str(path)!r}, "rb") as file:
        print(decode(file, {MODEL_HZ}, AudioLimits(60.0, 1 << 28, 8)).duration_s)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["0.5"] * 30), done.stderr
    np.testing.assert_allclose(read(path.read_bytes()).samples, sound, atol=1 / (1 << 15))


def test_layouts_that_aac_makes_itself_are_refused_if_they_are_unusual() -> None:
    usual = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
    unusual = av.AudioFrame(format="fltp", layout="FL+LFE", samples=1024)
    ffmpeg._refuse_unusual_layouts([usual])
    with pytest.raises(InvalidAudio, match="order"):
        ffmpeg._refuse_unusual_layouts([usual, unusual])


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("codec", ["flac", "pcm_s16le", "aac", "libopus"])
def test_any_number_of_channels(channels: int, codec: str) -> None:
    """Also of decoders that give each channel in a plane of its own."""
    layouts = ["mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"]
    sound = speechlike(1.0, RATE_HZ)
    data = by_ffmpeg(sound, RATE_HZ, "matroska", codec, layouts[channels - 1])
    heard = read(data).samples[:MODEL_HZ]
    assert np.corrcoef(heard, speechlike(1.0))[0, 1] > 0.98


# Blocks


@cache
def twenty_seconds(name: str) -> bytes:
    """Speech in this encoding."""
    return ENCODINGS[name](speechlike(20.0), MODEL_HZ)


@pytest.mark.parametrize(
    "name", ["mp3", "ogg opus", "webm opus", "m4a, moov first", "flac 16", "ogg vorbis", "wav s16"]
)
def test_sound_is_metered_a_block_at_a_time(name: str) -> None:
    """So that limits and clients who have left are noticed at once, and little is held besides the result."""
    told: list[float] = []
    waveform = read(twenty_seconds(name), told.append)
    assert sum(told) == pytest.approx(waveform.duration_s, abs=0.01)
    assert max(told) <= (BLOCK_FRAMES + 8_192) / MODEL_HZ


@pytest.mark.parametrize("name", ["mp3", "ogg opus", "webm opus", "m4a, moov first", "flac 16", "ogg vorbis"])
def test_what_the_meter_raises_ends_the_decoding(name: str) -> None:
    class Gone(Exception):
        pass

    def leave(seconds: float) -> None:
        raise Gone

    file = io.BytesIO(twenty_seconds(name))
    with pytest.raises(Gone):
        decode(file, MODEL_HZ, LIMITS, leave)
    assert not file.closed
    assert file.tell() < 0.6 * len(file.getvalue())  # FFmpeg reads ahead, but not to the end


def packets(*decoded: Any) -> Any:
    """A container and its stream, whose packets of 20 ms decode to these."""
    packet = SimpleNamespace(duration=20, time_base=Fraction(1, 1000))
    results = iter(decoded)

    def decode_next(_: object) -> Any:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    context = SimpleNamespace(name="opus", decode=decode_next)
    container = SimpleNamespace(demux=lambda stream: iter([packet] * len(decoded)))
    return container, SimpleNamespace(codec_context=context)


FRAME = SimpleNamespace(samples=960, sample_rate=48_000)


def test_packets_without_sound_give_the_caller_a_chance_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "PATIENCE_PACKETS", 10)
    found: list[Any] = list(ffmpeg._frames(*packets(*[[]] * 35, [FRAME])))
    assert found == [(0.0, None)] * 3 + [(0.0, FRAME)]


def test_packets_without_sound_are_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "MAX_FRUITLESS_PACKETS", 50)
    found: list[Any] = list(ffmpeg._frames(*packets(*[[]] * 49, [FRAME])))
    assert found == [(0.0, FRAME)]
    assert list(ffmpeg._frames(*packets(*[[]] * 50, [FRAME]))) == []


def test_packets_that_cannot_be_decoded_are_counted_by_their_length() -> None:
    broken = ValueError("broken")
    found: list[Any] = list(ffmpeg._frames(*packets([FRAME], broken, broken, [], [FRAME], [FRAME])))
    assert found == [(0.0, FRAME), (pytest.approx(0.04), FRAME), (0.0, FRAME)]


# Files joined to one


def mp3_frames(mp3: bytes) -> list[bytes]:
    found, place = [], 0
    while (frame := parse_frame(mp3[place : place + 7])) is not None:
        found.append(mp3[place : place + frame.size_bytes])
        place += frame.size_bytes
    return found


def silent_mp3(rate_hz: int, layout: str) -> list[bytes]:
    options = {"write_xing": "0", "id3v2_version": "0"}
    silence = np.zeros(rate_hz, dtype=np.float32)
    return mp3_frames(by_ffmpeg(silence, rate_hz, "mp3", "libmp3lame", layout, options, 32_000))


def test_a_form_that_changes_with_every_frame() -> None:
    one, other = silent_mp3(16_000, "mono"), silent_mp3(24_000, "stereo")
    pairs = list(zip(one, other, strict=False)) * 5
    mixed = b"".join(one) + b"".join(frame for pair in pairs for frame in pair)  # FFmpeg wants a few of a kind first
    waveform = read(mixed)
    assert waveform.duration_s == pytest.approx(
        len(one) * 576 / 16_000 + len(pairs) * (576 / 16_000 + 576 / 24_000), rel=0.05
    )
