"""Integrity checks: every check uses the chunk hashes if the manifest has them."""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.faulty_store import FaultyStore
from models.pulling import pull
from models.samples import CHUNK, content, manifest_bytes, model, settings
from worker_gpu.models.cli.verify import verify_files
from worker_gpu.models.disk.integrity import IntegrityCheck, is_intact
from worker_gpu.models.disk.local_tree import LocalTree
from worker_gpu.models.disk.partial_file import PartialFile
from worker_gpu.models.errors import Stopped
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.volume.network_volume import NetworkVolume

PATH = "loras/x.safetensors"
BODY = content(CHUNK * 3 + 5, 1)


@given(
    size=st.integers(0, 50),
    chunked=st.booleans(),
    cut=st.integers(1, 60),
    harm=st.sampled_from(["none", "flip", "short", "long"]),
    at=st.integers(0, 1000),
)
def test_check_passes_only_for_the_right_bytes(size: int, chunked: bool, cut: int, harm: str, at: int) -> None:
    body = content(size, size)
    file = model(PATH, body, chunked=chunked, chunk_bytes=7)
    added = bytearray(body)
    if harm == "flip" and added:
        added[at % size] ^= 1
    elif harm == "short":
        added = added[: at % size] if size else added
    elif harm == "long":
        added += b"x"
    proof = IntegrityCheck(file)
    for first in range(0, len(added), cut):
        proof.add(memoryview(bytes(added[first : first + cut])))
    assert proof.passed() == (bytes(added) == body)


def test_wrong_chunk_ends_the_check_early() -> None:
    proof = IntegrityCheck(model(PATH, BODY))
    assert not proof.add(memoryview(bytes(CHUNK)))


@pytest.fixture
def odd(store: FaultyStore) -> ModelFile:
    """An entry whose `sha256` does not match its chunks, as a faulty tool could write it."""
    file = replace(model(PATH, BODY), sha256="ab" * 32)
    store.objects.update({PATH: BODY, "manifest.json": manifest_bytes(file)})
    return file


def test_chunk_hashes_decide_everywhere(store: FaultyStore, odd: ModelFile, tmp_path: Path) -> None:
    chosen = settings(tmp_path, store.bucket)
    assert pull(chosen).fetched == [PATH]
    asked = len(store.of(PATH))
    tree = LocalTree(chosen.folder, lambda: 0.0)
    tree.open()
    assert [finding.state for finding in verify_files(tree, [odd], full=True)] == ["ok"]
    tree.close()
    volume = NetworkVolume(tmp_path / "volume", True, lambda: 0.0)
    assert volume.store(odd, chosen.folder / PATH)
    # The index no longer knows the file, so its bytes decide.
    (chosen.folder / ".sync" / "index.jsonl").unlink()
    assert pull(chosen).errors == []
    assert len(store.of(PATH)) == asked
    (tmp_path / "volume" / ".sync" / "index.jsonl").unlink()
    assert volume.find(odd) == tmp_path / "volume" / PATH


@pytest.mark.usefixtures("store")
def test_full_verification_uses_chunk_hashes(tmp_path: Path) -> None:
    tree = LocalTree(tmp_path, lambda: 0.0)
    tree.open()
    (tmp_path / "loras").mkdir()
    for at in (0, CHUNK, len(BODY) - 1):
        wrong = bytearray(BODY)
        wrong[at] ^= 1
        (tmp_path / PATH).write_bytes(wrong)
        assert [finding.state for finding in verify_files(tree, [model(PATH, BODY)], full=True)] == ["corrupt"]
    tree.close()


def test_check_ends_when_the_worker_stops(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    place = tmp_path / "x"
    place.write_bytes(BODY)
    with pytest.raises(Stopped):
        is_intact(place, model(PATH, BODY), stop)
    part = PartialFile(tmp_path / "parts", model(PATH, BODY))
    part.open()
    with pytest.raises(Stopped):
        part.hash_all(stop)
    with pytest.raises(Stopped):
        part.hash_chunk(0, stop)
    part.close()
    volume = NetworkVolume(tmp_path / "volume", False, lambda: 0.0)
    (tmp_path / "volume" / "loras").mkdir(parents=True)
    (tmp_path / "volume" / PATH).write_bytes(BODY)
    volume.cancel_copy()
    with pytest.raises(Stopped):
        volume.find(model(PATH, BODY))


def test_empty_file_is_verified_by_its_hash() -> None:
    assert IntegrityCheck(model(PATH, b"")).passed()
    assert not IntegrityCheck(replace(model(PATH, b""), sha256=hashlib.sha256(b"x").hexdigest())).passed()
