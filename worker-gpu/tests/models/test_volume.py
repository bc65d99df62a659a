"""A network volume that workers share: they link to its files, one at a time writes, and no partial file appears."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import FaultyStore
from models.samples import CHUNK, Clock, content, manifest_bytes, model, settings, silent
from worker_gpu.json_readers import JsonObject
from worker_gpu.models.disk.file_index import read_index
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.service import Models
from worker_gpu.models.settings import ModelSettings
from worker_gpu.models.sync import ModelSync
from worker_gpu.models.volume import network_volume as volume_module
from worker_gpu.models.volume.lease import LEASE_S
from worker_gpu.models.volume.network_volume import NetworkVolume

PATH, LAZY = "loras/style.safetensors", "loras/lazy.safetensors"
BODY = content(CHUNK * 4 + 1, 3)
FILE = model(PATH, BODY, groups=["background"])
NAMES_LAZY: dict[str, JsonObject] = {"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "lazy.safetensors"}}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The model on the container's disk."""
    path = tmp_path / "own" / PATH
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


def on(root: Path, clock: Clock, writable: bool = True) -> NetworkVolume:
    return NetworkVolume(root, writable, clock)


def sync_files(root: Path) -> list[str]:
    return sorted(entry.name for entry in (root / ".sync").iterdir() if entry.name != "index.jsonl")


def test_stored_file_is_found_by_the_index(tmp_path: Path, source: Path, clock: Clock) -> None:
    root = tmp_path / "volume"
    assert on(root, clock).store(FILE, source)
    assert (root / PATH).read_bytes() == BODY
    assert sync_files(root) == []
    # Size and time are the same, so only the index can identify the file.
    stat = (root / PATH).stat()
    (root / PATH).write_bytes(bytes(len(BODY)))
    os.utime(root / PATH, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert on(root, clock, writable=False).find(FILE) == root / PATH


@pytest.mark.parametrize("there", [None, b"", BODY[:-1], bytes(len(BODY))])
def test_different_file_on_the_volume_is_not_used(tmp_path: Path, clock: Clock, there: bytes | None) -> None:
    (tmp_path / PATH).parent.mkdir(parents=True)
    if there is not None:
        (tmp_path / PATH).write_bytes(there)
    assert on(tmp_path, clock).find(FILE) is None


def test_file_copied_by_hand_is_hashed_once(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).write_bytes(BODY)
    assert on(tmp_path, clock).find(FILE) == tmp_path / PATH

    def again(_: Path, _file: ModelFile, _stop: threading.Event) -> bool:
        pytest.fail("hashed again")

    monkeypatch.setattr(volume_module, "is_intact", again)
    assert on(tmp_path, clock).find(FILE) == tmp_path / PATH


def test_volume_without_write_permission_is_not_changed(tmp_path: Path, source: Path, clock: Clock) -> None:
    root = tmp_path / "volume"
    (root / PATH).parent.mkdir(parents=True)
    (root / PATH).write_bytes(BODY)
    reader = on(root, clock, writable=False)
    assert reader.find(FILE) == root / PATH
    assert not reader.store(model(LAZY, BODY), source)
    assert [path for path in root.rglob("*") if path.is_file()] == [root / PATH]


def test_lease_of_a_dead_writer_is_taken_over(tmp_path: Path, source: Path, clock: Clock) -> None:
    root = tmp_path / "volume"
    (root / ".sync").mkdir(parents=True)
    (root / ".sync" / "writer").write_text("another worker")
    (root / ".sync" / "half.part.another").write_bytes(BODY[:100])
    os.utime(root / ".sync" / "writer", (clock(), clock()))
    clock.moment += LEASE_S - 1
    assert not on(root, clock).store(FILE, source)
    assert not (root / PATH).exists()
    clock.moment += 2
    assert on(root, clock).store(FILE, source)
    assert (root / PATH).read_bytes() == BODY
    assert sync_files(root) == []


def test_wrong_copy_is_deleted_and_the_lease_released(tmp_path: Path, source: Path, clock: Clock) -> None:
    root = tmp_path / "volume"
    source.write_bytes(bytes(len(BODY)))
    with pytest.raises(OSError, match="has changed since it was verified"):
        on(root, clock).store(FILE, source)
    assert sync_files(root) == []
    assert not (root / PATH).exists()


def test_stopping_worker_cancels_its_copy(tmp_path: Path, source: Path, clock: Clock) -> None:
    root = tmp_path / "volume"
    volume = on(root, clock)
    volume.cancel_copy()
    assert not volume.store(FILE, source)
    assert sync_files(root) == []
    assert not (root / PATH).exists()


@pytest.fixture
def shared(store: FaultyStore, tmp_path: Path) -> ModelSettings:
    store.objects.update({PATH: BODY, LAZY: BODY})
    store.objects["manifest.json"] = manifest_bytes(FILE, model(LAZY, BODY))
    return replace(settings(tmp_path / "w", store.bucket), volume=tmp_path / "volume", volume_write=True)


@asynccontextmanager
async def models_of(chosen: ModelSettings) -> AsyncGenerator[Models]:
    models = Models(chosen, silent())
    await models.start()
    try:
        yield models
    finally:
        await asyncio.wait_for(models.close(), 10)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Returns after each complete copy to the volume."""
    looked = threading.Semaphore(0)
    real = ModelSync.copy_to_volume

    def noted(sync: ModelSync) -> int:
        try:
            return real(sync)
        finally:
            looked.release()

    def wait() -> None:
        assert looked.acquire(timeout=10)

    monkeypatch.setattr(ModelSync, "copy_to_volume", noted)
    return wait


@pytest.mark.asyncio
async def test_volume_copy_runs_after_the_background_group_and_each_job(
    shared: ModelSettings, kept: Callable[[], None], tmp_path: Path
) -> None:
    async with models_of(shared) as models:
        models.start_background()
        await asyncio.to_thread(kept)
        assert (tmp_path / "volume" / PATH).read_bytes() == BODY
        async with models.needed_by(NAMES_LAZY) as fetched:
            assert fetched.files == 1
            assert not (tmp_path / "volume" / LAZY).exists()
        await asyncio.to_thread(kept)
        assert (tmp_path / "volume" / LAZY).read_bytes() == BODY
    index, _ = read_index(tmp_path / "volume" / ".sync" / "index.jsonl")
    assert sorted(index) == [LAZY, PATH]


@pytest.mark.asyncio
async def test_busy_volume_is_retried_after_the_next_job(
    shared: ModelSettings, kept: Callable[[], None], tmp_path: Path
) -> None:
    writer = tmp_path / "volume" / ".sync" / "writer"
    writer.parent.mkdir(parents=True)
    writer.write_text("another worker")
    async with models_of(shared) as models:
        models.start_background()
        await asyncio.to_thread(kept)
        assert not (tmp_path / "volume" / PATH).exists()
        writer.unlink()
        async with models.needed_by(NAMES_LAZY):
            pass
        await asyncio.to_thread(kept)
        assert (tmp_path / "volume" / PATH).read_bytes() == BODY


@pytest.mark.asyncio
async def test_full_volume_is_only_logged(
    shared: ModelSettings, kept: Callable[[], None], tmp_path: Path, store: FaultyStore
) -> None:
    (tmp_path / "volume").write_text("no folder at all")
    async with models_of(shared) as models:
        models.start_background()
        await asyncio.to_thread(kept)
        async with models.needed_by(NAMES_LAZY) as fetched:
            assert fetched.files == 1
    assert len(store.of(PATH)) == FILE.chunk_count
