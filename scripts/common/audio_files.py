"""Find audio files in folders."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

AUDIO_SUFFIXES = frozenset(
    ".wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .mp3 .mp2 .mpga .m4a .m4b .mp4 .m4v .mov .3gp .3gpp .3g2 .aac "
    ".webm .weba .mkv .mka .amr .awb .aif .aiff .aifc .au .snd .caf".split()
)
APPLE_DOUBLE = "._"
"""macOS writes a file `._x.wav` beside `x.wav` on foreign disks and in archives. It holds metadata, not audio."""


def stop(problem: FileNotFoundError) -> None:
    """Raise the problem."""
    raise problem


def find_audio_files(paths: list[Path], report: Callable[[FileNotFoundError], object] = stop) -> list[Path]:
    """The named files, and all audio files in the named folders, at any depth, without duplicates.

    A named path that is not a folder is taken whatever its suffix; it may be a pipe. report: called with an error for
    each path that does not exist or cannot be read, and for each folder without audio files. By default the first such
    error is raised.
    """
    found: list[Path] = []
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except FileNotFoundError:
            report(FileNotFoundError(f"{path} does not exist"))
        except OSError as error:
            report(unreadable(path, error))
        else:
            found += audio_files_below(path, report) if is_folder else [path]
    return list(dict.fromkeys(found))


def audio_files_below(folder: Path, report: Callable[[FileNotFoundError], object]) -> list[Path]:
    """The audio files in a folder and its subfolders, sorted by path. report: see `find_audio_files`."""
    found: list[Path] = []
    problems: list[OSError] = []
    for parent, _, names in os.walk(folder, onerror=problems.append):
        for name in names:
            file = Path(parent, name)
            if file.suffix.lower() in AUDIO_SUFFIXES and not name.startswith(APPLE_DOUBLE) and file.is_file():
                found.append(file)
    for problem in problems:
        report(unreadable(Path(os.fsdecode(problem.filename)), problem))
    if not found and not problems:
        report(FileNotFoundError(f"there is no audio file in {folder}"))
    return sorted(found)


def unreadable(path: Path, error: OSError) -> FileNotFoundError:
    """The error for a path that cannot be read."""
    return FileNotFoundError(f"{path} cannot be read: {error.strerror}")
