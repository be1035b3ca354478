import io
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from app.audio import sniff
from app.errors import InvalidAudio, UnsupportedMedia
from tests.sounds import ENCODINGS, MODEL_HZ, speechlike, with_id3

CLIP = speechlike(1.0)
MP3, AAC = ENCODINGS["mp3"](CLIP, MODEL_HZ), ENCODINGS["aac adts"](CLIP, MODEL_HZ)


def name_of(data: bytes) -> str:
    return sniff(io.BytesIO(data))


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_is_told_from_its_bytes(name: str) -> None:
    families = {
        "bw64": "wav", "rf64": "wav", "wavex": "wav", "m4a,": "mp4", "m4a": "mp4", "mov": "mp4", "3gp": "mp4",
        "mka": "webm",
    }  # fmt: skip
    family = name.split()[0]
    assert name_of(ENCODINGS[name](CLIP, MODEL_HZ)) == families.get(family, family)


def stored_in_zip(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("song.mp3", data)
    return file.getvalue()


def in_tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("song.mp3")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("sound", [MP3, AAC], ids=["mp3", "aac"])
@pytest.mark.parametrize(
    "head",
    [
        b"\x89PNG\r\n\x1a\n", b"\x7fELF\x02\x01\x01", b"%PDF-1.7\n", b"\xff\xd8\xff\xe0\0\x10JFIF", b"GIF89a",
        b"MZ\x90", b"\x1f\x8b\x08", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"RIFF\x10\0\0\0AVI LIST",
        b"\0\0\x01\xba\x44",
        b"FLV\x01", b"<html><body>", b'{"file": "', b"#!/bin/sh\n", b"\xd0\xcf\x11\xe0",
    ],
)  # fmt: skip
def test_a_song_inside_another_kind_of_file_is_no_song(head: bytes, sound: bytes) -> None:
    with pytest.raises(UnsupportedMedia):
        name_of(head + bytes(50) + sound)


@pytest.mark.parametrize("packed", [stored_in_zip, in_tar])
def test_archives_are_not_opened(packed: Callable[[bytes], bytes]) -> None:
    with pytest.raises(UnsupportedMedia):
        name_of(packed(MP3))


def test_random_bytes_are_no_sound() -> None:
    random = np.random.default_rng(1)
    for _ in range(200):
        with pytest.raises(UnsupportedMedia):
            name_of(b"\x01" + random.bytes(20_000))


def test_a_tag_with_nothing_known_behind_it_is_taken_for_mp3() -> None:
    assert name_of(with_id3(b"no frame at all")) == "mp3"
    assert name_of(with_id3(bytes(500) + AAC)) == "aac"


def test_an_empty_file() -> None:
    with pytest.raises(InvalidAudio, match="empty"):
        name_of(b"")
