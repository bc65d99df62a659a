"""Reads and changes the pinned ComfyUI version of this repository."""

import re
from dataclasses import dataclass
from pathlib import Path

BROWSER = ("comfyui-frontend-package", "comfyui-workflow-templates", "comfyui-embedded-docs")
"""Packages that only a browser needs: in `frontend.in`."""
TORCH = ("torch", "torchvision", "torchaudio")
"""The layer below ComfyUI: in `torch.in`, by hand."""


@dataclass(frozen=True)
class Repository:
    """This repository, or a copy of it."""

    root: Path

    @property
    def image(self) -> Path:
        """The folder of the image's parts."""
        return self.root / "worker-gpu" / "image"

    @property
    def dockerfile(self) -> Path:
        """The Dockerfile."""
        return self.root / "worker-gpu" / "Dockerfile"

    @property
    def recordings(self) -> Path:
        """A folder of recordings for each version of ComfyUI."""
        return self.root / "test" / "fixtures" / "comfyui"

    def pinned(self, argument: str) -> str:
        """The value of `COMFYUI_VERSION` or `COMFYUI_COMMIT` in the Dockerfile."""
        (value,) = re.findall(rf"^ARG {argument}=(\S+)$", self.dockerfile.read_text(), re.MULTILINE)
        return str(value)


def move(repository: Repository, version: str, commit: str, requirements: str) -> list[str]:
    """Pin this version in the Dockerfile, `comfyui.in` and `frontend.in`. Returns notes about changes to make by
    hand."""
    text = repository.dockerfile.read_text()
    for argument, value in (("COMFYUI_VERSION", version), ("COMFYUI_COMMIT", commit)):
        text = re.sub(rf"^ARG {argument}=\S+$", f"ARG {argument}={value}", text, flags=re.MULTILINE)
    repository.dockerfile.write_text(text)
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    wanted = {name_of(line): line for line in lines if line}
    _rewrite(repository.image / "frontend.in", version, [line for name, line in wanted.items() if name in BROWSER])
    _rewrite(
        repository.image / "comfyui.in",
        version,
        [line for name, line in wanted.items() if name not in (*BROWSER, *TORCH)],
    )
    in_torch = {name_of(line) for line in (repository.image / "torch.in").read_text().splitlines()}
    return [
        f"torch.in {'lacks' if name in wanted else 'has'} {name}, which ComfyUI {version} "
        f"{'requires' if name in wanted else 'does not require'}."
        for name in TORCH
        if (name in wanted) != (name in in_torch)
    ]


def name_of(line: str) -> str:
    """The package of a line of requirements."""
    return re.split(r"[\[<>=~!; ]", line.split("#")[0].strip())[0].lower()


def _rewrite(path: Path, version: str, lines: list[str]) -> None:
    """Rewrite an `.in` file below its comment, and put this version into the comment."""
    old = path.read_text().splitlines()
    end = next((at for at, line in enumerate(old) if not line.startswith("#")), len(old))
    comment = [re.sub(r"\bv\d+\.\d+\.\d+", f"v{version}", line) for line in old[:end]]
    blank = [""] if end < len(old) and not old[end] else []
    path.write_text("\n".join([*comment, *blank, *lines]) + "\n")
