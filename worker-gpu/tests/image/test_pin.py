"""The pinned ComfyUI: no step of a move is open, and the command that moves it works."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checklist import ITEMS, left
from pin import Repository
from tree import read_watched, source_hash, worker_uses

from image.places import IMAGE, ROOT
from image.test_nodes import GIT_ENV, TIMEOUT_S, commit

HERE = Repository(ROOT)
RELOCK = IMAGE / "relock.py"

FLAGS, ROUTES = worker_uses(ROOT / "worker-gpu" / "src" / "worker_gpu")
ARGUMENTS = "\n".join(f'parser.add_argument("{flag}")' for flag in sorted(FLAGS))
SERVER = "class PromptServer:\n    def __init__(self):\n" + "\n".join(
    f'        @routes.get("{route.replace("{}", "{any}")}")\n        async def handler_{at}(request): pass'
    for at, route in enumerate(sorted(ROUTES))
)
REQUIREMENTS = "comfyui-frontend-package==9.9.9\ntorch\ntorchvision\nnumpy>=2\nPillow # pictures\n\n#others:\nkornia\n"


def test_checklist_is_complete_for_the_pinned_version() -> None:
    version = HERE.pinned("COMFYUI_VERSION")
    assert [f"{item.what}: {item.how}" for item in left(HERE, version)] == []


def test_checklist_is_open_for_another_version() -> None:
    assert [item.what for item in left(HERE, "99.0.0")] == [item.what for item in ITEMS]


def test_watched_functions_have_a_user_and_a_hash() -> None:
    version, watched = read_watched()
    assert version == HERE.pinned("COMFYUI_VERSION")
    assert len({(each.file, each.name) for each in watched}) == len(watched)
    for each in watched:
        assert (ROOT / each.used_by).is_file(), each.used_by
        assert re.fullmatch(r"[0-9a-f]{64}", each.sha256)
        assert each.why


def test_worker_uses_flags_and_routes() -> None:
    assert {"--output-directory", "--temp-directory"} <= FLAGS
    assert {"/prompt", "/view", "/history/{}", "/jobs/{}/cancel"} <= ROUTES


def test_hash_covers_the_lines_of_one_function() -> None:
    text = (
        "class A:\n    def f(self):\n        return 1\n\n    def g(self):\n        def inner():\n            return 2\n"
    )
    assert source_hash(text, "A.f") != source_hash(text, "A.g")
    assert source_hash(text, "A.g.inner") == source_hash(text.replace("return 1", "return 7"), "A.g.inner")
    assert source_hash(text, "A.g.inner") != source_hash(text.replace("return 2", "return 7"), "A.g.inner")
    assert source_hash(text, "A.h") is None


class Moved:
    """A copy of the files of the command, a ComfyUI to move to, and a stub of `uv`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "copy"
        for name in ("worker-gpu/image", "worker-gpu/src/worker_gpu/comfy", "test/fixtures/comfyui/0.3.64"):
            shutil.copytree(ROOT / name, self.root / name)
        for name in ("worker-gpu/Dockerfile", "docs/reference/comfyui-versions.md"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, self.root / name)
        (self.root / "worker-gpu/src/worker_gpu/lifecycle").mkdir()
        for name in ("lifecycle/comfyui.py", "settings.py"):
            source = Path("worker-gpu/src/worker_gpu") / name
            shutil.copyfile(ROOT / source, self.root / source)
        self.image = self.root / "worker-gpu" / "image"
        self.comfyui = folder / "comfyui"
        (self.comfyui / "comfy").mkdir(parents=True)
        (self.comfyui / "comfy" / "cli_args.py").write_text(ARGUMENTS)
        (self.comfyui / "server.py").write_text(SERVER)
        (self.comfyui / "requirements.txt").write_text(REQUIREMENTS)
        subprocess.run(["git", "init", "--quiet", str(self.comfyui)], env=GIT_ENV, timeout=TIMEOUT_S, check=True)  # noqa: S603, S607
        uv = folder / "uv"
        uv.write_text('#!/bin/sh\nwhile [ "$1" != --output-file ]; do shift; done\necho "a==1" > "$2"\n')
        uv.chmod(0o755)
        self.uv = uv

    def release(self, version: str) -> str:
        """Commit the tree as a release, and return the commit."""
        text = f'__version__ = "{version}"\n'
        (self.comfyui / "comfyui_version.py").write_text(text)
        for arguments in (["add", "--all"], ["commit", "--quiet", "--message", f"ComfyUI v{version}"]):
            git = ["git", "-C", str(self.comfyui), *arguments]
            subprocess.run(git, env=GIT_ENV, timeout=TIMEOUT_S, check=True)  # noqa: S603
        return self.head()

    def head(self) -> str:
        """The newest commit."""
        git = ["git", "-C", str(self.comfyui), "rev-parse", "HEAD"]
        done = subprocess.run(git, env=GIT_ENV, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)  # noqa: S603
        return done.stdout.strip()

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the copy's relock.py."""
        command = [sys.executable, str(self.image / "relock.py"), "--from", str(self.comfyui), *arguments]
        env = {**GIT_ENV, "UV": str(self.uv)}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603

    def watch(self, function: str) -> None:
        """Watch one function, as it is now, and nothing else."""
        text = (self.comfyui / "server.py").read_text()
        entry = f'file = "server.py"\nname = "{function}"\nsha256 = "{source_hash(text, function)}"\n'
        why = 'used_by = "worker-gpu/src/worker_gpu/lifecycle/comfyui.py"\nwhy = "What it says."\n'
        (self.image / "watched.toml").write_text(f'version = "0.33.0"\n\n[[watched]]\n{entry}{why}')


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[Moved]:
    yield Moved(tmp_path)


def test_move_pins_commit_and_requirements_and_prints_open_items(moved: Moved) -> None:
    moved.watch("PromptServer.handler_0")
    pinned = moved.release("99.1.0")
    done = moved.run("--comfyui", pinned)
    assert done.returncode == 0, done.stderr
    dockerfile = (moved.root / "worker-gpu" / "Dockerfile").read_text()
    assert f"ARG COMFYUI_VERSION=99.1.0\nARG COMFYUI_COMMIT={pinned}\n" in dockerfile
    frontend = (moved.image / "frontend.in").read_text()
    assert (
        frontend
        == "# ComfyUI v99.1.0's browser side: only the compute image has it.\ncomfyui-frontend-package==9.9.9\n"
    )
    comfyui = (moved.image / "comfyui.in").read_text()
    assert comfyui.startswith("# What ComfyUI v99.1.0 (commit")
    assert comfyui.endswith("\n\nnumpy>=2\nPillow\nkornia\n")
    assert (moved.image / "comfyui.lock").read_text() == "a==1\n"
    assert "torch.in has torchaudio, which ComfyUI 99.1.0 does not require." in done.stdout
    assert "its protocol is recorded" in done.stdout
    assert "docs/reference/comfyui-versions.md" in done.stdout
    assert "differs:" not in done.stdout
    assert "prefer a release" not in done.stdout


def test_move_names_changed_functions_until_they_are_marked_read(moved: Moved) -> None:
    moved.watch("PromptServer.handler_0")
    (moved.comfyui / "server.py").write_text(SERVER.replace("handler_0(request): pass", "handler_0(request): return 1"))
    pinned = moved.release("99.1.0")
    done = moved.run("--comfyui", pinned)
    assert "differs: server.py PromptServer.handler_0\n  What it says. Used by" in done.stdout
    assert "were read (watched.toml)" in done.stdout
    moved.run("--comfyui", pinned, "--read")
    done = moved.run("--comfyui", pinned)
    assert "differs:" not in done.stdout
    assert "were read (watched.toml)" not in done.stdout


def test_move_names_a_removed_function(moved: Moved) -> None:
    moved.watch("PromptServer.handler_0")
    (moved.comfyui / "server.py").write_text(SERVER.replace("handler_0(", "other("))
    assert "gone: server.py PromptServer.handler_0" in moved.run("--comfyui", moved.release("99.1.0")).stdout


@pytest.mark.parametrize(
    ("file", "text", "lacking"),
    [("comfy/cli_args.py", "--temp-directory", "--temp-directory"), ("server.py", '"/view"', "/view")],
)
def test_move_changes_nothing_if_the_worker_needs_a_missing_feature(
    file: str, text: str, lacking: str, moved: Moved
) -> None:
    path = moved.comfyui / file
    path.write_text(path.read_text().replace(text, '"x"' if text.startswith('"') else "--x"))
    before = {path: path.read_bytes() for path in moved.root.rglob("*") if path.is_file()}
    done = moved.run("--comfyui", moved.release("99.1.0"))
    assert done.returncode == 1
    assert f"ComfyUI 99.1.0 lacks what the worker uses: {lacking}. Nothing was changed." in done.stdout
    after = {path: path.read_bytes() for path in before}
    assert after == before


def test_move_advises_against_a_commit_between_releases(moved: Moved) -> None:
    moved.watch("PromptServer.handler_0")
    moved.release("99.1.0")
    later = commit(moved.comfyui, "README.md", "later")
    done = moved.run("--comfyui", later)
    assert done.returncode == 0, done.stderr
    assert "is a commit after the release 99.1.0" in done.stdout


@pytest.mark.parametrize("name", ["main", "v99.1.0", "0" * 40])
def test_move_rejects_an_unknown_commit(name: str, moved: Moved) -> None:
    moved.release("99.1.0")
    done = moved.run("--comfyui", name)
    assert done.returncode == 1
    assert done.stderr.startswith("relock: ")
    assert len(done.stderr.splitlines()) == 1
