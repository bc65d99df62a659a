"""Paths of the files of the image, and a parser of the Dockerfile."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WORKER = ROOT / "worker-gpu"
IMAGE = WORKER / "image"
UBUNTU = (
    *("bash", "cat", "cut", "dpkg", "echo", "env", "getent", "grep", "install", "mkdir", "mktemp", "rm", "sed"),
    *("sleep", "sort", "timeout"),
)
"""Programs of every Ubuntu 24.04 image that the scripts may call."""
LOCKS = sorted(path for path in IMAGE.glob("*.lock") if path.name != "nodes.lock")


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continuation lines joined, split into its word and the rest."""

    word: str
    rest: str

    @property
    def flags(self) -> list[str]:
        """Its `--flag=value` words, before anything else."""
        return re.findall(r"--\S+", re.match(r"(?:--\S+\s+)*", self.rest + " ").group(0))  # pyright: ignore[reportOptionalMemberAccess]

    @property
    def words(self) -> list[str]:
        """Its words without flags."""
        return [word for word in self.rest.split() if word not in self.flags]


@dataclass
class Stage:
    """A build stage with its base and its instructions."""

    name: str
    base: str
    platform: str | None
    instructions: list[Instruction] = field(default_factory=list[Instruction])

    def of(self, word: str) -> list[Instruction]:
        """Its instructions of one kind."""
        return [instruction for instruction in self.instructions if instruction.word == word]

    def needs(self) -> set[str]:
        """The stages and images that it copies or mounts from."""
        found = {self.base}
        for instruction in self.instructions:
            for flag in instruction.flags:
                if flag.startswith("--from="):
                    found.add(flag.removeprefix("--from="))
                if flag.startswith("--mount="):
                    found |= {part.removeprefix("from=") for part in flag.split(",") if part.startswith("from=")}
        return found


@dataclass
class Dockerfile:
    """The stages in order, and the ARGs before the first."""

    arguments: dict[str, str]
    stages: dict[str, Stage]

    def line(self, name: str) -> list[Stage]:
        """The stage and its bases, the lowest first."""
        stage = self.stages.get(name)
        return [] if stage is None else [*self.line(stage.base), stage]

    def last(self, name: str, word: str) -> str | None:
        """The last instruction of this kind in a stage and its bases."""
        said = [instruction.rest for stage in self.line(name) for instruction in stage.of(word)]
        return said[-1] if said else None


def read_dockerfile(path: Path = WORKER / "Dockerfile") -> Dockerfile:
    """Parse what this repository's Dockerfile uses of the language: no heredocs, no ONBUILD."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(line.rstrip() for line in lines))
    found = Dockerfile({}, {})
    stage: Stage | None = None
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        instruction = Instruction(word, rest.strip())
        if word == "FROM":
            base, _, name = instruction.words
            platform = next((flag.split("=")[1] for flag in instruction.flags if flag.startswith("--platform=")), None)
            stage = Stage(name, base, platform)
            found.stages[name] = stage
        elif stage is not None:
            stage.instructions.append(instruction)
        elif word == "ARG":
            name, _, default = rest.partition("=")
            found.arguments[name] = default
    return found


def pins(lock: Path) -> dict[str, str]:
    """The versions of a lock file by package."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def path_of_an_image(folder: Path) -> str:
    """A PATH that has the programs of an Ubuntu image and no others of this machine."""
    folder.mkdir()
    for name in UBUNTU:
        found = shutil.which(name)
        if found is not None:
            (folder / name).symlink_to(found)
    return str(folder)
