"""Leases: one writer at a time, and an expired lease does not block others."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.samples import CHUNK, content, model
from worker_gpu.models.volume.lease import LEASE_S, Lease
from worker_gpu.models.volume.network_volume import NetworkVolume

NOW = 1_000_000.0
BODY = content(CHUNK * 3, 1)
FILE = model("loras/x.safetensors", BODY)


class Moments:
    """A clock that stands still. Each reading first runs the next of `happenings`."""

    def __init__(self, *happenings: Callable[[], object]) -> None:
        self._happenings = list(happenings)

    def __call__(self) -> float:
        if self._happenings:
            self._happenings.pop(0)()
        return NOW


def nothing() -> None:
    """Happens."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume with the expired lease of a dead worker."""
    (tmp_path / "volume" / ".sync").mkdir(parents=True)
    writer = tmp_path / "volume" / ".sync" / "writer"
    writer.write_text("dead")
    os.utime(writer, (NOW - LEASE_S, NOW - LEASE_S))
    return tmp_path / "volume"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "own.safetensors").write_bytes(BODY)
    return tmp_path / "own.safetensors"


def names(root: Path) -> list[str]:
    return sorted(entry.name for entry in (root / ".sync").iterdir())


def test_lease_excludes_others_until_release_or_expiry(root: Path) -> None:
    path = root / ".sync" / "writer"
    one, other = Lease(path, lambda: NOW), Lease(path, lambda: NOW + LEASE_S - 1)
    assert one.acquire()
    assert not other.acquire()
    assert one.renew()
    one.release()
    assert other.acquire()
    later = Lease(path, lambda: NOW + 2 * LEASE_S)
    assert later.acquire()
    assert not other.renew()
    other.release()
    assert path.read_text() == later.owner
    assert names(root) == ["writer"]


def test_second_machine_at_an_expired_lease_fails_without_harm(root: Path, source: Path) -> None:
    path = root / ".sync" / "writer"
    first = Lease(path, lambda: NOW)
    part = root / ".sync" / f"x.part.{first.owner}"

    def first_takes_over() -> None:
        # The second machine has read the expired lease and is about to remove it.
        assert first.acquire()
        part.write_bytes(b"half of a model")

    second = NetworkVolume(root, True, Moments(first_takes_over))
    assert not second.store(FILE, source)
    assert path.read_text() == first.owner
    assert first.renew()
    assert part.read_bytes() == b"half of a model"
    assert not (root / FILE.path).exists()
    assert names(root) == ["writer", part.name]


def test_renewed_lease_survives_a_takeover(root: Path) -> None:
    path = root / ".sync" / "writer"
    awake = Lease(path, lambda: NOW)
    path.write_text(awake.owner)
    os.utime(path, (NOW - LEASE_S, NOW - LEASE_S))
    assert not Lease(path, Moments(awake.renew)).acquire()
    assert awake.renew()
    assert names(root) == ["writer"]


def test_at_most_one_of_three_machines_gets_the_lease(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / ".sync" / "writer"
    first, third = Lease(path, lambda: NOW), Lease(path, lambda: NOW)
    real = os.link

    def third_was_faster(source: Path, target: Path) -> None:
        assert third.acquire()
        real(source, target)

    monkeypatch.setattr(os, "link", third_was_faster)
    assert not Lease(path, Moments(first.acquire)).acquire()
    assert third.renew()
    # The writer checks its lease before each write and before the rename.
    assert not first.renew()
    assert names(root) == ["writer"]


def test_volume_without_hard_links_never_has_two_writers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / ".sync" / "writer"
    first = Lease(path, lambda: NOW)

    def refused(_source: Path, _target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    assert not Lease(path, Moments(first.acquire)).acquire()
    assert not first.renew()
    assert Lease(path, lambda: NOW).acquire()


@pytest.mark.parametrize("asked_before", [1, 2, 3])
def test_writer_without_its_lease_publishes_nothing(root: Path, source: Path, asked_before: int) -> None:
    path = root / ".sync" / "writer"

    def taken() -> None:
        path.write_text("another worker")

    volume = NetworkVolume(root, True, Moments(*[nothing] * asked_before, taken))
    assert not volume.store(FILE, source)
    assert not (root / FILE.path).exists()
    assert names(root) == ["writer"]
    assert path.read_text() == "another worker"


def test_new_writer_deletes_files_of_dead_writers(root: Path, source: Path) -> None:
    for name in ("x.part.dead", "dead.0123", "index.jsonl.new.0123"):
        (root / ".sync" / name).write_bytes(b"left")
    assert NetworkVolume(root, True, lambda: NOW).store(FILE, source)
    assert (root / FILE.path).read_bytes() == BODY
    assert names(root) == ["index.jsonl"]
