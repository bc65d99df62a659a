"""The steps of a move to another ComfyUI version. `relock.py --comfyui` prints the open ones, and a test checks that
none is open for the pinned version (tests/image/test_pin.py)."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pin import Repository
from tree import read_watched


@dataclass(frozen=True)
class Item:
    """One step. `done` tells whether it is done for a version."""

    what: str
    how: str
    done: Callable[[Repository, str], bool]


def _inputs(repository: Repository, version: str) -> bool:
    files = [repository.image / name for name in ("comfyui.in", "frontend.in")]
    return all(f"v{version}" in path.read_text() for path in files)


def _watched(repository: Repository, version: str) -> bool:
    return read_watched(repository.image / "watched.toml")[0] == version


def _recorded(repository: Repository, version: str) -> bool:
    here = {path.name for path in (repository.recordings / version).glob("*.json")}
    return cases(repository) <= here


def _in_table(repository: Repository, version: str) -> bool:
    page = (repository.root / "docs/reference/comfyui-versions.md").read_text()
    return re.search(rf"^\| {re.escape(version)} \|", page, re.MULTILINE) is not None


def cases(repository: Repository) -> set[str]:
    """Names of the files that every recorded version has."""
    versions = [path for path in repository.recordings.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    found: set[str] | None = None
    for version in versions:
        names = {path.name for path in version.glob("*.json")}
        found = names if found is None else found & names
    return found or set()


ITEMS = (
    Item(
        "comfyui.in and frontend.in have its requirements",
        "python worker-gpu/image/relock.py --comfyui COMMIT",
        _inputs,
    ),
    Item(
        "the changes in the functions that our code relies on were read (watched.toml)",
        "read each, adapt the code that uses it, then: python worker-gpu/image/relock.py --comfyui COMMIT --read",
        _watched,
    ),
    Item(
        "its protocol is recorded, and the worker's tests replay it",
        "start it (test/fixtures/comfyui/README.md), then: python worker-gpu/image/record.py "
        "test/fixtures/comfyui/VERSION",
        _recorded,
    ),
    Item(
        "docs/reference/comfyui-versions.md describes the tests with it and its differences",
        "python -m pytest worker-gpu/tests/test_replay.py, worker-gpu/tests/real (its conftest.py says how), "
        "node test/parity/compare.ts URL; then a row for the version",
        _in_table,
    ),
)


def left(repository: Repository, version: str) -> list[Item]:
    """The open steps for this version."""
    return [item for item in ITEMS if not item.done(repository, version)]
