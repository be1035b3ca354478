"""Sound files in folders."""

from pathlib import Path

SOUND_SUFFIXES = frozenset(
    ".wav .w64 .flac .ogg .oga .opus .mp3 .m4a .mp4 .aac .webm .mka .3gp .amr .aif .aiff .au .caf".split()
)


def find_files(paths: list[Path]) -> list[Path]:
    """The files named, and all sound files in the folders named, at any depth; each once.

    Raises FileNotFoundError for a path that is not there and a folder without sound.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                file for file in path.rglob("*") if file.suffix.lower() in SOUND_SUFFIXES and file.is_file()
            )
            if not inside:
                raise FileNotFoundError(f"there is no sound file in {path}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no file {path}")
    return list(dict.fromkeys(found))
