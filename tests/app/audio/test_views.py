import io

import pytest

from app.audio.views import View, file_size, read_at

DATA = bytes(range(100))


def test_a_part_of_a_file() -> None:
    view = View(io.BytesIO(DATA), 10, 20)
    assert view.read() == DATA[10:20]
    assert view.read() == b""
    assert (view.tell(), file_size(view)) == (10, 10)  # type: ignore[arg-type]
    assert view.seek(-3, io.SEEK_END) == 7
    assert view.read(2) == DATA[17:19]
    assert view.seek(-4, io.SEEK_CUR) == 5
    assert view.read(100) == DATA[15:20]


def test_behind_its_end_is_nothing() -> None:
    view = View(io.BytesIO(DATA), 90)
    view.seek(50)
    assert view.read(5) == b""
    assert View(io.BytesIO(DATA), 1_000).read() == b""


def test_before_its_beginning_is_its_beginning() -> None:
    view = View(io.BytesIO(DATA), 10)
    assert view.seek(-1) == view.seek(-500, io.SEEK_END) == view.tell() == 0
    assert view.read(1) == DATA[10:11]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_patches_are_read_in_the_place_of_what_is_there(size: int) -> None:
    patches = {0: b"AB", 5: b"CDEF", 98: b"GH"}
    view = View(io.BytesIO(DATA), patches=patches)
    expected = b"AB" + DATA[2:5] + b"CDEF" + DATA[9:98] + b"GH"
    assert b"".join(iter(lambda: view.read(size) or b"", b"")) == expected
    assert read_at(view, 6, 5) == expected[6:11]  # type: ignore[arg-type]


def test_the_file_may_be_read_by_others_between() -> None:
    file = io.BytesIO(DATA)
    view = View(file, 10)
    first = view.read(3)
    file.seek(77)
    assert first + (view.read(3) or b"") == DATA[10:16]


def test_closing_it_leaves_the_file_open() -> None:
    file = io.BytesIO(DATA)
    View(file).close()
    assert not file.closed
