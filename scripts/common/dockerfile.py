"""A parser of this repository's Dockerfile, and of the build context that .dockerignore leaves.

It knows the part of the syntax that this repository uses: instructions with continued lines, stages, ARG and ENV with
`${NAME}`, COPY with `--from`, RUN in shell form with `--mount`, the exec form of CMD, ENTRYPOINT and HEALTHCHECK.
Anything else is an error, so that no instruction is silently ignored.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = frozenset(
    {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "USER", "WORKDIR"}
)


class DockerfileError(ValueError):
    """The Dockerfile uses syntax that this parser does not support, or copies files that do not exist."""


@dataclass(frozen=True)
class Step:
    """One instruction.

    name: in capitals. options: `--from=build` is `{"from": "build"}`. rest: the text after the options, as written.
    """

    name: str
    options: dict[str, str]
    rest: str

    @property
    def exec_form(self) -> list[str]:
        """The words of a command that is written as a JSON list. Raises DockerfileError if it is in shell form."""
        if not self.rest.startswith("["):
            raise DockerfileError(f"{self.name} is not in exec form: {self.rest}")
        return [str(word) for word in json.loads(self.rest)]


@dataclass
class Stage:
    """A FROM instruction and the steps after it. parent: the image or stage that it starts from."""

    parent: str
    name: str
    steps: list[Step] = field(default_factory=list)


def parse(text: str) -> tuple[dict[str, str], list[Stage]]:
    """Parse a Dockerfile into the default values of the ARGs before the first FROM, and the stages in order.

    Raises DockerfileError for unsupported syntax.
    """
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for step in _steps(text):
        if step.name == "FROM":
            parent, _, name = re.sub(r"\s+AS\s+", " AS ", step.rest, flags=re.IGNORECASE).partition(" AS ")
            stages.append(Stage(expand(parent, arguments), name or str(len(stages))))
        elif stages:
            stages[-1].steps.append(step)
        elif step.name == "ARG":
            arguments |= pairs(step.rest)
        else:
            raise DockerfileError(f"{step.name} before FROM")
    return arguments, stages


def _steps(text: str) -> Iterator[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name.upper() not in KNOWN:
            raise DockerfileError(f"the instruction {name} is not supported")
        options: dict[str, str] = {}
        while option := re.match(r"\s*--([a-z-]+)=(\S+)\s*", rest):
            options[option[1]] = option[2]
            rest = rest[option.end() :]
        yield Step(name.upper(), options, rest.strip())


def pairs(text: str) -> dict[str, str]:
    """Parse `A=1 B="two words"`, as ARG, ENV and LABEL take it. A name without a value gets an empty one."""
    return {name: value for name, _, value in (word.partition("=") for word in shlex.split(text))}


def expand(text: str, values: dict[str, str]) -> str:
    """Replace each `${NAME}` by its value. Raises DockerfileError if a name has no value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise DockerfileError(f"{match[0]} has no value")
        return values[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)


class Context:
    """The build context: the files below `folder` that its .dockerignore does not exclude."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = (folder / ".dockerignore").read_text(encoding="utf-8").splitlines()
        rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        self._rules = [(not rule.startswith("!"), _pattern(rule.removeprefix("!"))) for rule in rules]

    def includes(self, path: str) -> bool:
        """Whether a file is in the context. path: relative to `folder`. The last rule that matches decides."""
        parts = path.split("/")
        folders = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        ignored = False
        for ignores, pattern in self._rules:
            if any(pattern.fullmatch(folder) for folder in folders):
                ignored = ignores
        return not ignored

    def files(self, source: str) -> list[str]:
        """The files that `COPY source` copies: `source` itself, or all files below it.

        Raises DockerfileError if there are none.
        """
        place = self.folder / source
        below = sorted(place.rglob("*")) if place.is_dir() else [place]
        names = [path.relative_to(self.folder).as_posix() for path in below if path.is_file()]
        if not (found := [name for name in names if self.includes(name)]):
            raise DockerfileError(f"COPY {source}: no such file, or .dockerignore excludes it")
        return found


def _pattern(rule: str) -> re.Pattern[str]:
    escaped = re.escape(rule.strip("/"))
    return re.compile(escaped.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*"))
