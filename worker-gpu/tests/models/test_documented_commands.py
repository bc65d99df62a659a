"""Runs the commands of docs/guides/models.md unchanged, in a clone, by a Python that has only obstore."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from models.local_r2 import REPOSITORY, bucket_env, r2
from models.samples import content

PAGE = (REPOSITORY / "docs/guides/models.md").read_text()
BLOCK = next(block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "worker_gpu models push" in block)
ELSEWHERE = ("--hf", "--url")
"""URLs and repositories that tests cannot reach."""


def runnable(line: str) -> str:
    """A command of the page without its optional parts."""
    return re.sub(r" \[[^\]]*\]", "", line)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the worker's sources and the models of the examples."""
    (tmp_path / "worker-gpu").symlink_to(REPOSITORY / "worker-gpu")
    for at, path in enumerate(("checkpoints/sdxl.safetensors", "loras/x.safetensors")):
        file = tmp_path / "models" / path
        file.parent.mkdir(parents=True)
        file.write_bytes(content(1_000, at))
    return tmp_path


def test_documented_commands_work_in_a_clean_clone(clone: Path) -> None:
    python = clone / "bin" / "python3"
    python.parent.mkdir()
    base = getattr(sys, "_base_executable", sys.executable)
    # Without `site` Python finds only its standard library and this folder.
    packages = clone / "packages"
    packages.mkdir()
    for name in ("obstore", "typing_extensions"):
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        file = Path(found.origin)
        installed = file.parent if file.name == "__init__.py" else file
        (packages / installed.name).symlink_to(installed)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{packages}" exec "{base}" -S "$@"\n')
    python.chmod(0o755)
    lines = [runnable(line) for line in BLOCK.splitlines() if not any(source in line for source in ELSEWHERE)]
    assert sum("python3 -m worker_gpu models" in line for line in lines) >= 6
    script = "\n".join(line for line in lines if not line.startswith("export MODELS_"))
    with r2() as bucket:
        done = subprocess.run(  # noqa: S603 -- the page's own commands
            ["/bin/bash", "-e", "-u", "-c", script],
            cwd=clone,
            env={
                "PATH": f"{python.parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
                "MODELS_MIN_FREE_MB": "0",
                **bucket_env(bucket, clone / "pulled"),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 files" in done.stdout
    assert (clone / "pulled" / "checkpoints" / "sdxl.safetensors").is_file()
    assert done.stdout.endswith("1 of 1 files ok\n")
