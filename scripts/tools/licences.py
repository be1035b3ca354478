"""List the contents of the serving image with their licences, for docs/licences.md.

    .venv/bin/python scripts/tools/licences.py > docs/licences.md

Reads the metadata of the packages in requirements.lock, which must be installed for the Python that runs this. The
licences are those that the packages state. Libraries that are bundled in a wheel are listed by file.
"""

import ctypes
import re
from importlib.metadata import Distribution, distribution
from pathlib import Path

from scripts.common import ROOT

LIBRARY = re.compile(r"\.so(\.\d+)*$")
BUNDLED = re.compile(r"(^|/)(\w+\.libs|_soundfile_data)/")
"""Folders of wheels with bundled libraries of other projects."""

HEAD = """# Licences of what the serving image ships

Printed by `scripts/tools/licences.py`. Dikte itself is under the [MIT licence](../LICENSE), and so is the bundled
model. The base image brings Debian and Python with licences of their own.

"""
NOTES = """
Worth knowing for whoever passes an image on:

- PyAV's FFmpeg calls itself LGPL, as it was configured without `--enable-gpl`. But the same libavcodec is linked to
  x264 and x265, which are under the GPL (2 or later). Who passes the image on is on the safe side with the terms of the
  GPL for it: the sources of those libraries, or an offer of them. To run the service for others is no distribution.
  Dikte asks FFmpeg for decoding alone, never for x264 or x265.
- soxr, and libsndfile with libmpg123 and LAME in soundfile's wheel, are under the LGPL. libsndfile is a file that can
  be exchanged; soxr's wheel has its library within the extension module.
- All this is what packages say of themselves, read by a program. It is no legal advice.
"""


def locked() -> list[str]:
    """The names of the packages in the lock file."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return re.findall(r"^([\w.-]+)==", text, re.MULTILINE)


def licence_of(package: Distribution) -> str:
    """The licence that a package states: its SPDX expression, else its free text, else its classifiers."""
    stated = package.metadata.json
    classifiers = [line.rsplit(" :: ", 1)[1] for line in stated.get("classifier", []) if "License ::" in line]
    free_text = str(stated.get("license", "")).partition("\n")[0]
    return str(stated.get("license_expression", free_text or ", ".join(classifiers) or "not stated"))


def libraries_in(package: Distribution) -> list[Path]:
    """The shared libraries that are bundled in the wheel of a package."""
    names = [file for file in package.files or [] if BUNDLED.search(str(file)) and LIBRARY.search(str(file))]
    return sorted(Path(str(package.locate_file(name))) for name in names)


def ffmpeg_licence(libraries: list[Path]) -> str:
    """The licence that the bundled FFmpeg reports, which depends on its build options."""
    import av  # noqa: F401  # loads the libraries that libavcodec needs

    path = next(path for path in libraries if path.name.startswith("libavcodec"))
    library = ctypes.CDLL(str(path))
    library.avcodec_license.restype = ctypes.c_char_p
    return str(library.avcodec_license().decode())


def main() -> None:
    packages = [distribution(name) for name in locked()]
    lines = ["| package | version | licence |", "|---|---|---|"]
    lines += [f"| {package.name} | {package.version} | {licence_of(package)} |" for package in packages]
    print(HEAD + "\n".join(lines))
    print("\n## Libraries inside the wheels\n")
    for package in packages:
        if libraries := libraries_in(package):
            names = ", ".join(re.sub(r"-[0-9a-f]{8}.*|\.so.*", "", path.name) for path in libraries)
            said = f" FFmpeg says of itself: {ffmpeg_licence(libraries)}." if package.name == "av" else ""
            print(f"- **{package.name}**: {names}.{said}")
    print(NOTES, end="")


if __name__ == "__main__":
    main()
