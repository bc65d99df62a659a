"""Custom nodes: nodes.lock, presets.toml, and fetch.py with real git repositories."""

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from image.places import IMAGE

NODES: list[dict[str, Any]] = tomllib.loads((IMAGE / "nodes.lock").read_text())["nodes"]
PRESETS: dict[str, dict[str, Any]] = tomllib.loads((IMAGE / "presets.toml").read_text())
COMMIT = re.compile(r"[0-9a-f]{40}")
TIMEOUT_S = 60

GIT_ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}

Fetch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("node", NODES, ids=lambda node: node["name"])
def test_node_is_pinned_by_a_full_commit(node: dict[str, Any]) -> None:
    assert set(node) <= {"name", "url", "commit", "licence", "submodules", "writes"}
    assert re.fullmatch(r"[A-Za-z0-9_-]+", node["name"])
    assert node["licence"]
    for source in [node, *node.get("submodules", [])]:
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", source["url"])
        assert COMMIT.fullmatch(source["commit"])


def test_names_and_sources_of_nodes_are_unique() -> None:
    assert len({node["name"].lower() for node in NODES}) == len(NODES)
    assert len({node["url"].lower() for node in NODES}) == len(NODES)


def test_presets_contain_every_node_and_no_unknown_one() -> None:
    known = {node["name"] for node in NODES}
    used = {name for preset in PRESETS.values() for name in preset["nodes"]}
    assert used == known


def test_presets_are_those_of_the_use_cases() -> None:
    assert set(PRESETS) == {"video", "easy", "splats", "talking-head"}
    assert all(preset["about"] for preset in PRESETS.values())


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_has_its_lock_file(preset: str) -> None:
    assert (IMAGE / f"nodes-{preset}.in").is_file()
    assert (IMAGE / f"nodes-{preset}.lock").is_file()


def test_no_lock_file_is_left_of_a_removed_preset() -> None:
    assert {path.stem.removeprefix("nodes-") for path in IMAGE.glob("nodes-*.lock")} == set(PRESETS)


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`, without this machine's settings."""
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        env=GIT_ENV,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return done.stdout.strip()


def commit(folder: Path, name: str, text: str) -> str:
    """Commit a file to a repository, and return the commit."""
    if not folder.exists():
        folder.mkdir()
        git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / name).write_text(text)
    git(folder, "add", name)
    git(folder, "commit", "--quiet", "--message", text)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def fetch() -> Fetch:
    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(IMAGE / "fetch.py"), *map(str, arguments)]
        return subprocess.run(command, env=GIT_ENV, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603

    return run


def write_lock(folder: Path, text: str) -> tuple[str, str, str, str]:
    """A nodes.lock and a preset `one` with all its nodes, as arguments for fetch.py."""
    (folder / "nodes.lock").write_text(text)
    names = ", ".join(f'"{name}"' for name in re.findall(r'^name = "(.+)"$', text, re.MULTILINE))
    (folder / "presets.toml").write_text(f'[one]\nabout = "x"\nnodes = [{names}]\n')
    return ("--lock", str(folder / "nodes.lock"), "--presets", str(folder / "presets.toml"))


def test_fetch_gets_the_pinned_commit_and_not_the_branch(tmp_path: Path, fetch: Fetch) -> None:
    pinned = commit(tmp_path / "repo", "node.py", "old")
    commit(tmp_path / "repo", "node.py", "new")
    done = fetch("one", tmp_path / "repo", pinned, tmp_path / "into")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "into/node.py").read_text() == "old"
    assert not (tmp_path / "into/.git").exists()


def test_fetch_of_a_missing_commit_fails_with_one_line(tmp_path: Path, fetch: Fetch) -> None:
    commit(tmp_path / "repo", "node.py", "old")
    done = fetch("one", tmp_path / "repo", "0" * 40, tmp_path / "into")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("fetch: ")


@pytest.mark.parametrize("name", ["main", "v1", "abc1234", "A" * 40])
def test_fetch_rejects_a_branch_a_tag_and_a_short_commit(name: str, tmp_path: Path, fetch: Fetch) -> None:
    commit(tmp_path / "repo", "node.py", "old")
    done = fetch("one", tmp_path / "repo", name, tmp_path / "into")
    assert done.returncode == 1
    assert "not a whole commit" in done.stderr


def test_fetch_gets_nodes_with_submodules_and_writable_folders(tmp_path: Path, fetch: Fetch) -> None:
    inner = commit(tmp_path / "inner", "inner.py", "inner")
    commit(tmp_path / "node", "node.py", "node")
    git(tmp_path / "node", "update-index", "--add", "--cacheinfo", f"160000,{inner},lib")
    git(tmp_path / "node", "commit", "--quiet", "--message", "submodule")
    pinned = git(tmp_path / "node", "rev-parse", "HEAD")
    lock = write_lock(
        tmp_path,
        f'[[nodes]]\nname = "Node"\nurl = "{tmp_path}/node"\ncommit = "{pinned}"\nlicence = "MIT"\nwrites = ["cache"]\n'
        f'[[nodes.submodules]]\npath = "lib"\nurl = "{tmp_path}/inner"\ncommit = "{inner}"\n',
    )
    done = fetch("nodes", "one", tmp_path / "into", tmp_path / "nodes.json", *lock)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "into/Node/node.py").read_text() == "node"
    assert (tmp_path / "into/Node/lib/inner.py").read_text() == "inner"
    assert stat.S_IMODE((tmp_path / "into/Node/cache").stat().st_mode) == 0o777
    assert list((tmp_path / "into").rglob(".git")) == []
    assert json.loads((tmp_path / "nodes.json").read_text()) == [
        {"name": "Node", "url": f"{tmp_path}/node", "commit": pinned}
    ]


def test_fetch_without_presets_writes_an_empty_record(tmp_path: Path, fetch: Fetch) -> None:
    done = fetch("nodes", "", tmp_path / "into", tmp_path / "nodes.json")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "into").iterdir()) == []
    assert json.loads((tmp_path / "nodes.json").read_text()) == []


def test_fetch_rejects_a_submodule_at_another_commit(tmp_path: Path, fetch: Fetch) -> None:
    inner = commit(tmp_path / "inner", "inner.py", "inner")
    other = commit(tmp_path / "inner", "inner.py", "other")
    commit(tmp_path / "node", "node.py", "node")
    git(tmp_path / "node", "update-index", "--add", "--cacheinfo", f"160000,{inner},lib")
    git(tmp_path / "node", "commit", "--quiet", "--message", "submodule")
    pinned = git(tmp_path / "node", "rev-parse", "HEAD")
    lock = write_lock(
        tmp_path,
        f'[[nodes]]\nname = "Node"\nurl = "{tmp_path}/node"\ncommit = "{pinned}"\nlicence = "MIT"\n'
        f'[[nodes.submodules]]\npath = "lib"\nurl = "{tmp_path}/inner"\ncommit = "{other}"\n',
    )
    done = fetch("nodes", "one", tmp_path / "into", tmp_path / "nodes.json", *lock)
    assert done.returncode == 1
    assert "another commit for lib" in done.stderr


@pytest.mark.parametrize("inner", ["../out", "/etc"])
def test_fetch_rejects_a_folder_outside_the_node(inner: str, tmp_path: Path, fetch: Fetch) -> None:
    lock = write_lock(
        tmp_path,
        f'[[nodes]]\nname = "Node"\nurl = "x"\ncommit = "{"0" * 40}"\nlicence = "MIT"\nwrites = ["{inner}"]\n',
    )
    done = fetch("nodes", "one", tmp_path / "into", tmp_path / "nodes.json", *lock)
    assert done.returncode == 1
    assert "leaves its folder" in done.stderr


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("", []),
        ("video", ["nodes-video.lock"]),
        (" splats, video ", ["nodes-video.lock", "nodes-splats.lock"]),
        ("all", [f"nodes-{name}.lock" for name in PRESETS]),
    ],
)
def test_presets_choose_the_lock_files(names: str, expected: list[str], fetch: Fetch) -> None:
    done = fetch("locks", names)
    assert (done.returncode, done.stdout.split()) == (0, expected)


def test_unknown_preset_is_rejected_with_the_known_ones(fetch: Fetch) -> None:
    done = fetch("locks", "video,nope")
    assert done.returncode == 1
    assert "'nope'" in done.stderr
    assert "talking-head" in done.stderr
