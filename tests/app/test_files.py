from pathlib import Path

import pytest

from app.files import LFS_POINTER, MAX_POINTER_BYTES, describe_broken_file, is_lfs_pointer, one_line

POINTER = LFS_POINTER + b"\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"


def test_a_pointer_is_told_by_its_first_line() -> None:
    assert is_lfs_pointer(POINTER)
    assert not is_lfs_pointer(b"\x08\x08\x12" + POINTER)
    assert not is_lfs_pointer(b"")


@pytest.mark.parametrize("content", [b"x", b"x" * 10_000, LFS_POINTER[:-1], POINTER + b"x" * MAX_POINTER_BYTES])
def test_nothing_is_seen_of_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    assert describe_broken_file(path) is None, "it is not there"
    path.write_bytes(content)
    assert describe_broken_file(path) is None


@pytest.mark.parametrize(("content", "said"), [(POINTER, "is a Git LFS pointer"), (b"", "is empty: fetch it again")])
def test_what_is_wrong_names_file_and_folder(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert str(describe_broken_file(path)).startswith(f"model.onnx in {tmp_path} {said}")


def test_links_are_followed(tmp_path: Path) -> None:
    link = tmp_path / "model.onnx"
    link.symlink_to(tmp_path / "blob")
    assert "is a link to a file that is not there" in str(describe_broken_file(link))
    (tmp_path / "blob").write_bytes(POINTER)
    assert "is a Git LFS pointer" in str(describe_broken_file(link))


def test_a_message_of_several_lines_becomes_one() -> None:
    assert one_line(ValueError("size mismatch:\n\tweight\n")) == "size mismatch: weight"
    assert one_line(MemoryError()) == "MemoryError"
