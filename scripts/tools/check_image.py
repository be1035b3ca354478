"""Build the image without Docker, by running the steps of the Dockerfile in a bare Debian folder, and test it.

    sudo .venv/bin/python scripts/tools/check_image.py --mirror http://deb.debian.org/debian
    sudo .venv/bin/python scripts/tools/check_image.py --base /var/tmp/bookworm  # from debootstrap; is not changed

Needs root, Linux and debootstrap. Its mounts are visible to its own processes only. Each stage of the target starts
from a copy of the bare folder and runs its instructions. Then the CMD is started as the USER, without capabilities, on
a file system that is read-only except for /tmp. HEALTHCHECK must succeed, a sample must be transcribed, and after
SIGTERM the exit code must be 0. Prints sizes too. pip gets the PIP_* variables of the environment.

The differences from Docker: Debian's Python replaces that of the base image, and the network is that of the host.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.common import ROOT
from scripts.common.child_process import resident_bytes
from scripts.common.dockerfile import Context, Stage, Step, expand, pairs, parse
from scripts.common.service_process import free_port, transcribe

DEBIAN = "bookworm"
"""The Debian release with the Python version of the base image."""
PACKAGES = ("python3.11", "python3-pip")
LINKS = {"python": "/usr/bin/python3.11", "python3": "/usr/bin/python3.11", "pip": "/usr/bin/pip3"}
"""Links in /usr/local/bin, where the base image has these programs."""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HEALTHY_WITHIN_S = 60.0
ENDED_WITHIN_S = 40.0
UNREADY_PAUSE_S = 0.1
MB = 1_000_000


@dataclass
class Image:
    """A stage that was built: its file system, and the settings for running it."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": DEFAULT_PATH})
    workdir: str = "/"
    user: str = "0:0"
    commands: dict[str, Step] = field(default_factory=dict)

    def place(self, path: str) -> Path:
        """The path on this machine of a path in the image, which is absolute or relative to its WORKDIR."""
        return self.root / os.path.normpath(Path("/", self.workdir, path)).lstrip("/")


def run(*command: str | Path, **options: str) -> None:
    """Run a command, with its output on ours. Raises CalledProcessError if it fails."""
    subprocess.run([str(word) for word in command], check=True, **options)  # type: ignore[call-overload]


def inside(image: Image, command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """The command that runs `command` in the image as its USER, without privileges unless that is root."""
    uid, gid = image.user.split(":")
    drop = ["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"] if uid != "0" else []
    become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", *(drop or ["--clear-groups"])]
    values = [f"{name}={value}" for name, value in (image.environment | dict(environment or {})).items()]
    return ["chroot", str(image.root), *become, "env", "-i", "-C", image.workdir, *values, *command]


class Builder:
    """Builds stages, each in its own folder below `work`."""

    def __init__(self, base: Path, work: Path, context: Context, stages: Sequence[Stage]) -> None:
        self._base = base
        self._work = work
        self._context = context
        self._stages = {stage.name: stage for stage in stages}
        self._images: dict[str, Image] = {}

    def build(self, name: str) -> Image:
        """Build the stage with this name, and the stages that it needs, unless they are built already."""
        if name not in self._images:
            self._images[name] = self._build(self._stages[name])
        return self._images[name]

    def _build(self, stage: Stage) -> Image:
        if stage.parent in self._stages:
            parent = self.build(stage.parent)
            image = Image(self._work / stage.name, dict(parent.environment), parent.workdir, parent.user)
        else:
            parent, image = Image(self._base), Image(self._work / stage.name)
        print(f"# {stage.name}, from {stage.parent}", flush=True)
        run("cp", "-a", "--reflink=auto", parent.root, image.root)
        arguments: dict[str, str] = {}
        for step in stage.steps:
            print(step.name, *(f"--{name}={value}" for name, value in step.options.items()), step.rest, flush=True)
            if step.name == "ARG":
                arguments |= pairs(step.rest)
            elif step.name == "ENV":
                image.environment |= pairs(expand(step.rest, image.environment | arguments))
            elif step.name == "WORKDIR":
                image.workdir = step.rest
                image.place(".").mkdir(parents=True, exist_ok=True)
            elif step.name == "USER":
                image.user = step.rest
            elif step.name == "COPY":
                self._copy(image, step)
            elif step.name == "RUN":
                self._run(image, step, arguments)
            elif step.name in {"CMD", "ENTRYPOINT", "HEALTHCHECK"}:
                image.commands[step.name] = step
        return image

    def _copy(self, image: Image, step: Step) -> None:
        *sources, target = step.rest.split()
        if "from" in step.options:
            image.place(target).parent.mkdir(parents=True, exist_ok=True)
            for source in sources:
                run("cp", "-a", self.build(step.options["from"]).place(source), image.place(target))
            return
        for source in sources:
            for name in self._context.files(source):
                below = Path(name).relative_to(source)
                path = image.place(f"{target}/{name}" if target.endswith("/") else str(Path(target, below)))
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self._context.folder / name, path)

    def _run(self, image: Image, step: Step, arguments: Mapping[str, str]) -> None:
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        certificates = [Path(value) for name, value in pip.items() if name == "PIP_CERT"]
        for path in (Path("/etc/resolv.conf"), *certificates):
            image.place(str(path)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, image.place(str(path)))
        mounts = ["/proc"]
        mount("-t", "proc", "proc", image.root / "proc")
        if "mount" in step.options:  # --mount=type=cache,target=PATH: the cache is kept between steps
            cache = dict(part.split("=") for part in step.options["mount"].split(","))["target"]
            (kept := self._work / "cache").mkdir(exist_ok=True)
            image.place(cache).mkdir(parents=True, exist_ok=True)
            mount("--bind", kept, image.place(cache))
            mounts.append(cache)
        try:
            run(*inside(image, ["sh", "-c", step.rest], pip | dict(arguments)))
        finally:
            for place in mounts:
                run("umount", image.place(place))


def mount(*arguments: str | Path) -> None:
    """Mount something, in the mount namespace of this process only."""
    run("mount", *arguments)


def bare_debian(folder: Path, mirror: str) -> None:
    """Install a minimal Debian and its Python in a folder."""
    run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", DEBIAN, folder, mirror)


def as_base_image(base: Path) -> None:
    """Make a Debian folder like the base image: add links to its programs, and remove leftovers of the installation."""
    for place in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(base / place, ignore_errors=True)
    for name, target in LINKS.items():
        (link := base / "usr/local/bin" / name).unlink(missing_ok=True)
        link.symlink_to(target)


def size_of(*paths: Path) -> int:
    """Size of all files below some paths, in bytes. Symbolic links are not followed, and hard links count once."""
    found = {(status.st_dev, status.st_ino): status.st_size for path in paths for status in _stats(path)}
    return sum(found.values())


def _stats(path: Path) -> list[os.stat_result]:
    if path.is_symlink() or path.is_file():
        return [path.lstat()]
    return [Path(folder, name).lstat() for folder, _, names in os.walk(path) for name in names]


def print_sizes(base: Path, image: Image) -> None:
    """Print the sizes of the parts of the image."""
    system, whole = size_of(base), size_of(image.root)
    compiled = sum(1 for _ in image.place("/opt/venv").rglob("*.pyc"))
    packages = next(image.place("/opt/venv").glob("lib/python*/site-packages"))
    parts = sorted(((size_of(path), path.name) for path in packages.iterdir() if path.is_dir()), reverse=True)
    print(f"\n{'total':<32}{whole / MB:8.1f} MB\n{'  Debian and its Python':<32}{system / MB:8.1f}")
    for place in ("/opt/venv", "/srv/dikte/models", "/srv/dikte/app"):
        print(f"{'  ' + place:<32}{size_of(image.place(place)) / MB:8.1f}")
    print(f"{'  added by the Dockerfile':<32}{(whole - system) / MB:8.1f}")
    print(f"precompiled modules: {compiled}\nlargest packages:")
    for size, name in parts[:10]:
        print(f"{'  ' + name:<32}{size / MB:8.1f}")


def serve(image: Image, sample: Path) -> None:
    """Start the service as Docker would, and check what it has to do. Raises AssertionError if a check fails."""
    mount("--bind", image.root, image.root)
    mount("-o", "remount,bind,ro", image.root)
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", image.root / "tmp")
    mount("-t", "proc", "proc", image.root / "proc")
    mount("--rbind", "/dev", image.root / "dev")
    mount("--rbind", "-o", "ro", "/sys", image.root / "sys")
    port = free_port()
    environment = {"ASR_PORT": str(port)}
    command = [
        *(image.commands["ENTRYPOINT"].exec_form if "ENTRYPOINT" in image.commands else []),
        *image.commands["CMD"].exec_form,
    ]
    checked = image.commands["HEALTHCHECK"].rest
    health = Step("HEALTHCHECK", {}, checked.removeprefix("CMD").strip()).exec_form
    print(f"\n$ {' '.join(command)}   (user {image.user}, read-only except for /tmp, port {port})", flush=True)
    began = time.monotonic()
    process = subprocess.Popen(inside(image, command, environment))
    try:
        while subprocess.run(inside(image, health, environment), check=False, capture_output=True).returncode:
            assert process.poll() is None, f"it exited with {process.returncode}"
            assert time.monotonic() - began < HEALTHY_WITHIN_S, "it did not become healthy"
            time.sleep(UNREADY_PAUSE_S)
        print(f"healthy after {time.monotonic() - began:.1f} s, according to {' '.join(health)}")
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        facts = {key: value.split() for key, _, value in (line.partition(":") for line in status.splitlines())}
        print(f"uid {facts['Uid'][1]}, capabilities {facts['CapEff'][0]}, no new privileges {facts['NoNewPrivs'][0]}")
        assert facts["Uid"] == [image.user.split(":")[0]] * 4, "it runs as another user"
        assert int(facts["CapEff"][0], 16) == int(facts["CapBnd"][0], 16) == 0
        for place in ("/", image.workdir, "/opt/venv"):
            touched = subprocess.run(["chroot", image.root, "touch", f"{place}/new"], check=False, capture_output=True)
            assert b"Read-only file system" in touched.stderr, f"root can write to {place}"
        print("not even root can write to /, to the working folder or to the packages")
        answer = transcribe(f"http://127.0.0.1:{port}", sample)
        print(f"{sample.name}: {json.dumps(answer, ensure_ascii=False)}")
        assert answer["text"], "the transcript is empty"
        current, peak = (resident_bytes(process.pid, field) / MB for field in ("VmRSS", "VmHWM"))
        print(f"resident: {current:.0f} MB, peak {peak:.0f} MB")
        process.send_signal(signal.SIGTERM)
        ended = process.wait(ENDED_WITHIN_S)
        print(f"SIGTERM: it exited with {ended}")
        assert ended == 0
    finally:
        process.kill()


def check(target: str, base: Path | None, mirror: str, work: Path, sample: Path) -> None:
    """Build the target below `work`, print its sizes, and test the service in it."""
    _, stages = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    if base is None:
        bare_debian(base := work / "debian", mirror)
    run("cp", "-a", "--reflink=auto", base, work / "bare")
    as_base_image(work / "bare")
    image = Builder(work / "bare", work, Context(ROOT), stages).build(target)
    print_sizes(work / "bare", image)
    serve(image, sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="folder with a bare Debian that has " + " and ".join(PACKAGES))
    parser.add_argument("--mirror", default="http://deb.debian.org/debian", help="for debootstrap; default %(default)s")
    parser.add_argument("--sample", type=Path, default=ROOT / "samples" / "sample.wav")
    parser.add_argument("--target", default="serve", help="stage of the Dockerfile; default %(default)s")
    parser.add_argument("--temporary", default="/var/tmp", help="folder with 3 GB of free space")  # noqa: S108  # no fixed file
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    if arguments.work is None:
        # Run again in a new mount namespace, whose mounts end with it, so that none is left below the removed folder.
        with tempfile.TemporaryDirectory(prefix="dikte-image-", dir=arguments.temporary) as work:
            Path(work).chmod(0o755)  # the service's user needs access
            sys.exit(subprocess.call(["unshare", "--mount", sys.executable, *sys.argv, "--work", work]))
    check(arguments.target, arguments.base, arguments.mirror, arguments.work, arguments.sample)


if __name__ == "__main__":
    main()
