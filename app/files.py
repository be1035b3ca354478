"""Detects files that are not what their name says."""

from pathlib import Path

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
"""First bytes of the text file that stands in for a large file until `git lfs pull` fetches it (Git LFS
specification)."""
MAX_POINTER_BYTES = 1024
"""Pointers are shorter than this (same source)."""


def is_lfs_pointer(content: bytes) -> bool:
    """Whether a file that starts with `content` is a Git LFS pointer."""
    return content.startswith(LFS_POINTER)


def describe_broken_file(path: Path) -> str | None:
    """Why a file is obviously broken and how to fix it; None if it looks intact."""
    if path.is_symlink() and not path.exists():
        return f"{path.name} in {path.parent} is a link to a file that is not there: fetch it again"
    if not path.is_file():
        return None
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        return f"{path.name} in {path.parent} is empty: fetch it again"
    if size_bytes < MAX_POINTER_BYTES:
        with path.open("rb") as file:
            if is_lfs_pointer(file.read(len(LFS_POINTER))):
                return (
                    f"{path.name} in {path.parent} is a Git LFS pointer, not the file itself: run `git lfs pull` there"
                )
    return None


def one_line(error: BaseException) -> str:
    """The message of another library's error, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
