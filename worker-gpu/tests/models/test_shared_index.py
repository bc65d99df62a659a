"""The index on a volume: workers see the entries of others, and read only new lines."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from models.samples import model
from worker_gpu.models.disk.file_index import KnownFile, apply_lines, read_index
from worker_gpu.models.volume import shared_index as module
from worker_gpu.models.volume.network_volume import NetworkVolume
from worker_gpu.models.volume.shared_index import SharedIndex

SHA = "0" * 64


def held(path: str, size: int = 1) -> KnownFile:
    return KnownFile(path, size, 5, 6, SHA, False, 7)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that were read."""
    lines: list[bytes] = []

    def noted(found: Iterable[bytes], known: dict[str, KnownFile]) -> None:
        here = list(found)
        lines.extend(here)
        apply_lines(here, known)

    monkeypatch.setattr(module, "apply_lines", noted)
    return lines


def test_index_is_read_once_for_many_files(tmp_path: Path, read: list[bytes]) -> None:
    files = [model(f"loras/{number}.safetensors", b"x") for number in range(200)]
    (tmp_path / "loras").mkdir()
    for file in files:
        (tmp_path / file.path).write_bytes(b"x")
    first = NetworkVolume(tmp_path, True, lambda: 1.0)
    # Every file is hashed and added.
    assert all(first.find(file) is not None for file in files)
    assert len(read) == len(files) - 1
    read.clear()
    second = NetworkVolume(tmp_path, False, lambda: 1.0)
    assert all(second.find(file) is not None for file in files)
    assert len(read) == len(files)


def test_entry_of_another_worker_is_found(tmp_path: Path) -> None:
    one, other = SharedIndex(tmp_path / "index"), SharedIndex(tmp_path / "index")
    assert one.get("a") is None
    other.add(held("a"))
    assert one.get("a") == held("a")
    one.add(held("b"))
    other.add(held("a", 2))
    assert (one.get("a"), other.get("b")) == (held("a", 2), held("b"))
    (tmp_path / "index").unlink()
    assert one.get("a") is None


def test_line_cut_off_by_a_kill_does_not_damage_the_next(tmp_path: Path) -> None:
    path = tmp_path / "index"
    index = SharedIndex(path)
    index.add(held("a"))
    path.write_bytes(path.read_bytes() + held("torn").to_line()[:20])
    assert index.get("torn") is None
    index.add(held("b"))
    assert [index.get(name) for name in ("a", "torn", "b")] == [held("a"), None, held("b")]
    assert sorted(read_index(path)[0]) == ["a", "b"]


def test_incomplete_line_is_read_when_it_is_complete(tmp_path: Path) -> None:
    path, line = tmp_path / "index", held("a").to_line()
    index = SharedIndex(path)
    path.write_bytes(line[:20])
    assert index.get("a") is None
    path.write_bytes(line)
    assert index.get("a") == held("a")


def compacted(path: Path) -> tuple[SharedIndex, SharedIndex]:
    """Two readers of an index with many lines. The second has read it before the first compacted it."""
    one, other = SharedIndex(path), SharedIndex(path)
    for size in range(200):
        one.add(held("a", size))
    assert other.get("a") == held("a", 199)
    one.compact()
    return one, other


def test_compacted_index_is_read_by_other_workers(tmp_path: Path) -> None:
    path = tmp_path / "index"
    one, other = compacted(path)
    assert path.read_bytes() == held("a", 199).to_line()
    other.add(held("b"))
    assert (one.get("a"), one.get("b"), other.get("a")) == (held("a", 199), held("b"), held("a", 199))
    before = path.read_bytes()
    one.compact()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


def test_lease_holder_compacts_the_index(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    (root / ".sync").mkdir(parents=True)
    index = root / ".sync" / "index.jsonl"
    index.write_bytes(held("old").to_line() * 500)
    (tmp_path / "x").write_bytes(b"x")
    assert NetworkVolume(root, True, lambda: 1.0).store(model("loras/x.safetensors", b"x"), tmp_path / "x")
    found, lines = read_index(index)
    assert (sorted(found), lines) == (["loras/x.safetensors", "old"], 2)


def test_rewritten_index_is_reread_from_start_even_if_longer(tmp_path: Path) -> None:
    one, other = compacted(tmp_path / "index")
    for number in range(300):
        one.add(held(f"b{number}"))
    assert (other.get("b0"), other.get("b299")) == (held("b0"), held("b299"))
