"""Which programs a stage calls, and which it has: what an engine would find out by failing half-way through a build."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from image.places import Dockerfile, Instruction, Stage

UBUNTU = {
    *(
        "apt-get",
        "bash",
        "cat",
        "cut",
        "dpkg",
        "echo",
        "env",
        "getent",
        "grep",
        "install",
        "mkdir",
        "mktemp",
        "rm",
        "sed",
    ),
    *("sleep", "sort", "timeout", "useradd", "userdel"),
}
"""Programs that every Ubuntu 24.04 image has (of its essential packages and `passwd`): those needed so far."""

PACKAGES = {
    "ca-certificates": {"update-ca-certificates"},
    "ffmpeg": {"ffmpeg", "ffprobe"},
    "gcc": {"gcc"},
    "git": {"git"},
    "libc6-dev": set[str](),
    # No `python3`: on Ubuntu 24.04 that link is in python3-minimal, and none of these depends on it.
    "python3.12": {"python3.12"},
    "python3.12-dev": set[str](),
    "python3.12-venv": set[str](),
    "tini": {"tini"},
}
"""The programs in Ubuntu 24.04's packages, for those the Dockerfile installs without what they merely recommend."""

BUILTINS = {*("[", ".", "cd", "command", "echo", "exit", "export", "false", "printf", "read", "set", "test", "true")}
KEYWORDS = {*("if", "then", "elif", "else", "fi", "while", "until", "do", "done", "{", "}", "(", ")", "!")}
SEPARATORS = re.compile(r"[;&|()]+")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass(frozen=True)
class Call:
    """A program that an instruction calls, as it is written there after variables were put in."""

    stage: str
    program: str
    instruction: Instruction


def programs(shell: str) -> list[str]:
    """The words at a command's place in a line of shell, those inside `$(…)` too; no builtins, no keywords."""
    inner = re.findall(r"\$\(([^()]*)\)", shell)
    plain = re.sub(r"\d?>&\d", "", re.sub(r"\$\([^()]*\)", "x", shell))
    words = shlex.shlex(plain, posix=True, punctuation_chars=";&|()")
    words.whitespace_split = True
    found: list[str] = []
    begins = True
    for word in words:
        if SEPARATORS.fullmatch(word):
            begins = True
        elif begins and word not in KEYWORDS and not ASSIGNMENT.match(word):
            begins = False
            if word not in BUILTINS:
                found.append(word)
    return found + [program for part in inner for program in programs(part)]


def calls(dockerfile: Dockerfile) -> Iterator[Call]:
    """Every program of a RUN, CMD, ENTRYPOINT or HEALTHCHECK, in the order of the file."""
    for stage in dockerfile.stages.values():
        known = environment(dockerfile, stage.name)
        for instruction in stage.instructions:
            # After an entrypoint a CMD is its argument.
            if instruction.word == "CMD" and dockerfile.last(stage.name, "ENTRYPOINT") is not None:
                continue
            for program in _called(instruction):
                yield Call(stage.name, Template(program).safe_substitute(known), instruction)


def missing(dockerfile: Dockerfile) -> list[str]:
    """`stage: program` for every call of a program that the stage does not have when it is called."""
    found: list[str] = []
    for call in calls(dockerfile):
        stage = dockerfile.stages[call.stage]
        until = stage.instructions.index(call.instruction)
        own = [*stage.instructions[: until + 1]] if call.instruction.word == "RUN" else stage.instructions
        if not _has(dockerfile, stage, own, call.program):
            found.append(f"{call.stage}: {call.program}")
    return found


def has(dockerfile: Dockerfile, name: str, program: str) -> bool:
    """Whether a finished stage has a program, by name or by path."""
    stage = dockerfile.stages[name]
    return _has(dockerfile, stage, stage.instructions, program)


def environment(dockerfile: Dockerfile, name: str) -> dict[str, str]:
    """What ENV set in a stage and in those it is built on."""
    said = [instruction.rest for stage in dockerfile.line(name) for instruction in stage.of("ENV")]
    return {key: value for rest in said for key, _, value in (pair.partition("=") for pair in shlex.split(rest))}


def packages(instructions: list[Instruction]) -> list[str]:
    """What `apt-get install` is asked for."""
    asked = [
        part for run in instructions if run.word == "RUN" for part in re.findall(r"apt-get install ([^&;]*)", run.rest)
    ]
    return [word for part in asked for word in part.split() if not word.startswith("-")]


def path_of_an_image(folder: Path) -> str:
    """A PATH with what every Ubuntu image has and nothing of this machine beyond it; what is not here stays out."""
    folder.mkdir()
    for name in UBUNTU:
        found = shutil.which(name)
        if found is not None:
            (folder / name).symlink_to(found)
    return str(folder)


def _called(instruction: Instruction) -> list[str]:
    rest = instruction.rest
    if instruction.word == "HEALTHCHECK":
        rest = re.sub(r"^(?:--\S+\s+)*CMD\s+", "", rest)
    elif instruction.word == "RUN":
        rest = re.sub(r"^(?:--\S+\s+)*", "", rest)
    elif instruction.word not in ("CMD", "ENTRYPOINT"):
        return []
    if rest == "NONE":
        return []
    if not rest.startswith("["):
        return programs(rest)
    words: list[str] = json.loads(rest)
    # A wrapper (tini) ends with `--`; the program follows.
    return [words[0], *words[words.index("--") + 1 :][:1]] if "--" in words else words[:1]


def _has(dockerfile: Dockerfile, stage: Stage, own: list[Instruction], program: str) -> bool:
    below = [instruction for older in dockerfile.line(stage.base) for instruction in older.instructions]
    instructions = [*below, *own]
    if "/" not in program:
        return program in UBUNTU or any(program in PACKAGES[package] for package in packages(instructions))
    folder, _, name = program.rpartition("/")
    if folder in ("/bin", "/usr/bin"):
        return has(dockerfile, stage.name, name) if own is stage.instructions else _has(dockerfile, stage, own, name)
    for instruction in instructions:
        if instruction.word == "COPY" and instruction.words[-1] in (program, f"{folder}/"):
            return True
        # An environment has its own python and what pip puts beside it.
        if instruction.word == "RUN" and re.search(
            rf" venv (?:[^&;]* )?{re.escape(folder.removesuffix('/bin'))}\b", instruction.rest
        ):
            return True
    mounts = [flag for flag in own[-1].flags if flag.startswith("--mount=type=bind,from=")] if own else []
    for mount in mounts:
        parts = dict(part.split("=", 1) for part in mount.removeprefix("--mount=").split(",") if "=" in part)
        if program.startswith(f"{parts['target']}/"):
            inside = f"{parts.get('source', '').rstrip('/')}{program.removeprefix(parts['target'])}"
            return has(dockerfile, parts["from"], inside)
    return False
