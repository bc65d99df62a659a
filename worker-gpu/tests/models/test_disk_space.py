"""Disk space: which files are evicted for a download, in which order, and which never are."""

import threading
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from models.faulty_store import Asked, FaultyStore, Silent, Status, faulty_store
from models.partial_files import marked_chunks
from models.pulling import LIMIT_S, finish
from models.samples import CHUNK, QUICK, content, model, settings, silent
from models.small_disk import SmallDisk
from worker_gpu.models.disk.disk_space import DiskSpace
from worker_gpu.models.disk.partial_file import PartialFile
from worker_gpu.models.download.file_download import Download
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.download.remote_file import RemoteFile
from worker_gpu.models.errors import Stopped
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.sync import Deps, ModelSync
from worker_gpu.models.volume.network_volume import NetworkVolume

EACH = 8
"""Chunks of each model."""


@pytest.fixture
def sync(store: FaultyStore, tmp_path: Path) -> Generator[ModelSync]:
    made = opened(store, tmp_path)
    yield made
    made.close()


@pytest.fixture
def one_connection(store: FaultyStore, tmp_path: Path) -> Generator[ModelSync]:
    """A sync with one connection, which reads one chunk after another."""
    made = opened(store, tmp_path, connections=1)
    yield made
    made.close()


def opened(store: FaultyStore, tmp_path: Path, connections: int = 4, freed_blocks_s: float = 0.0) -> ModelSync:
    timeouts = replace(QUICK, freed_blocks_s=freed_blocks_s)
    clock = Counter()
    chosen = settings(tmp_path, store.bucket, connections, timeouts)
    made = ModelSync(chosen, silent(), Deps(now=clock))
    made.open()
    return made


class Counter:
    """A clock that advances one second per reading, so that each file has another time of last use."""

    moment = 0.0

    def __call__(self) -> float:
        self.moment += 1.0
        return self.moment


def stored(store: FaultyStore, name: str) -> ModelFile:
    file = model(f"loras/{name}.safetensors", body_of(name))
    store.objects[file.path] = body_of(name)
    return file


def body_of(name: str) -> bytes:
    return content(CHUNK * EACH, ord(name))


@pytest.fixture
def a(store: FaultyStore) -> ModelFile:
    return stored(store, "a")


@pytest.fixture
def b(store: FaultyStore) -> ModelFile:
    return stored(store, "b")


@pytest.fixture
def c(store: FaultyStore) -> ModelFile:
    return stored(store, "c")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallDisk:
    """A disk with space for two models and three chunks."""
    return SmallDisk(tmp_path / "models", 2 * EACH + 3, monkeypatch)


def test_partial_file_of_a_failed_download_is_deleted_before_any_model(
    store: FaultyStore, one_connection: ModelSync, disk: SmallDisk, a: ModelFile, b: ModelFile, c: ModelFile
) -> None:
    store.script = lambda asked: Status(500) if asked.key == a.path and asked.first >= CHUNK * 6 else None
    assert finish(one_connection, [b]).errors == []
    assert finish(one_connection, [a]).codes == ["store_unreachable"]
    assert disk.used() >= (EACH + 6) * CHUNK
    assert finish(one_connection, [c]).errors == []
    assert (one_connection.evicted, one_connection.tree.has(b), one_connection.tree.has(c)) == (0, True, True)


def test_partial_file_of_a_failed_download_is_kept_while_there_is_space(
    store: FaultyStore, one_connection: ModelSync, disk: SmallDisk, a: ModelFile, b: ModelFile
) -> None:
    disk.chunks = 100
    store.script = lambda asked: Status(500) if asked.key == a.path and asked.first >= CHUNK * 6 else None
    assert finish(one_connection, [a]).codes == ["store_unreachable"]
    assert finish(one_connection, [b]).errors == []
    done = marked_chunks(one_connection.tree.root, a)
    assert done == set(range(6))
    store.asked.clear()
    store.script = lambda _: None
    assert finish(one_connection, [a]).errors == []
    assert {asked.first // CHUNK for asked in store.of(a.path)} == set(range(EACH)) - done


def test_partial_file_of_a_running_download_is_not_deleted(
    store: FaultyStore, tmp_path: Path, disk: SmallDisk, a: ModelFile, b: ModelFile, c: ModelFile
) -> None:
    # More connections than the first download has chunks.
    sync = opened(store, tmp_path, connections=12)
    try:
        begun = threading.Event()
        disk.look = begun.set
        store.script = lambda asked: Silent(CHUNK // 2) if asked.key == a.path else None
        under_way = sync.request([a], Urgency.BACKGROUND).futures()[0]
        assert begun.wait(LIMIT_S)
        assert finish(sync, [b]).errors == []
        assert finish(sync, [c]).errors == []
        assert not under_way.done()
        assert sync.evicted == 1
    finally:
        sync.close()


@pytest.mark.usefixtures("disk")
def test_pinning_a_file_during_its_eviction_does_not_find_it(
    sync: ModelSync, tmp_path: Path, a: ModelFile, b: ModelFile, c: ModelFile
) -> None:
    assert finish(sync, [a]).errors == []
    assert finish(sync, [b]).errors == []
    deciding, go_on, pinning = threading.Event(), threading.Event(), threading.Event()
    real = sync.tree.known_files

    def slowly() -> list[object]:
        deciding.set()
        assert pinning.wait(LIMIT_S)
        # Lets the other thread reach the lock.
        go_on.wait(0.05)
        return list(real())

    setattr(sync.tree, "known_files", slowly)  # noqa: B010 -- the moment between the look at the pins and the deletion
    found: list[bool] = []

    def job() -> None:
        pinning.set()
        with sync.pinned([a]):
            here = sync.request([a], Urgency.JOB).present
            go_on.set()
            found.append(here == [a] and not (tmp_path / "models" / a.path).exists())

    batch = sync.request([c], Urgency.JOB)
    assert deciding.wait(LIMIT_S)
    thread = threading.Thread(target=job)
    thread.start()
    thread.join(LIMIT_S)
    batch.futures()[0].exception(LIMIT_S)
    assert found == [False]


@pytest.mark.usefixtures("disk")
def test_job_that_joins_a_background_download_may_evict(
    sync: ModelSync, a: ModelFile, b: ModelFile, c: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finish(sync, [a, b]).errors == []
    looking, go_on = threading.Event(), threading.Event()
    real = PartialFile.open

    def slowly(part: PartialFile) -> None:
        looking.set()
        go_on.wait(LIMIT_S)
        real(part)

    monkeypatch.setattr(PartialFile, "open", slowly)
    sync.request([c], Urgency.BACKGROUND)
    assert looking.wait(LIMIT_S)
    joined: list[Exception | BaseException | None] = []

    def job() -> None:
        joined.append(sync.request([c], Urgency.JOB).futures()[0].exception(LIMIT_S))

    thread = threading.Thread(target=job)
    thread.start()
    go_on.set()
    thread.join(LIMIT_S)
    assert joined == [None]
    assert (sync.tree.has(c), sync.evicted) == (True, 1)


@pytest.mark.usefixtures("disk")
def test_background_download_evicts_nothing(sync: ModelSync, a: ModelFile, b: ModelFile, c: ModelFile) -> None:
    assert finish(sync, [a, b]).errors == []
    assert finish(sync, [c], Urgency.BACKGROUND).codes == ["disk_full"]
    assert sync.evicted == 0


def test_eviction_goes_on_when_an_open_file_keeps_its_blocks(
    sync: ModelSync, disk: SmallDisk, tmp_path: Path, a: ModelFile, b: ModelFile, c: ModelFile
) -> None:
    assert finish(sync, [a]).errors == []
    assert finish(sync, [b]).errors == []
    disk.hold_open(tmp_path / "models" / a.path)
    assert finish(sync, [c]).errors == []
    assert (sync.tree.has(b), sync.tree.has(c), sync.evicted) == (False, True, 2)


def test_full_disk_fails_a_download_before_a_byte_is_read(
    store: FaultyStore, sync: ModelSync, disk: SmallDisk, tmp_path: Path, a: ModelFile, b: ModelFile, c: ModelFile
) -> None:
    assert finish(sync, [a, b]).errors == []
    for one in (a, b):
        disk.hold_open(tmp_path / "models" / one.path)
    pulled = finish(sync, [c])
    assert pulled.codes == ["disk_full"]
    assert "of models were deleted: a program still has them open" in pulled.errors[0].message
    assert store.of(c.path) == []


def test_eviction_waits_for_blocks_that_are_freed_late(
    store: FaultyStore, disk: SmallDisk, tmp_path: Path, a: ModelFile, b: ModelFile, c: ModelFile
) -> None:
    sync = opened(store, tmp_path, freed_blocks_s=LIMIT_S)
    try:
        assert finish(sync, [a]).errors == []
        assert finish(sync, [b]).errors == []
        disk.hold_open(tmp_path / "models" / a.path)
        looks = [0]

        def later() -> None:
            looks[0] += not (tmp_path / "models" / a.path).exists()
            if looks[0] == 4:
                disk.open_files.clear()

        disk.look = later
        assert finish(sync, [c]).errors == []
        assert (sync.tree.has(b), sync.evicted) == (True, 1)
    finally:
        sync.close()


@pytest.mark.parametrize("which", ["close", "discard"])
def test_error_on_closing_a_partial_file_fails_its_download(
    store: FaultyStore, sync: ModelSync, a: ModelFile, b: ModelFile, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(PartialFile, which)

    def broken(part: PartialFile) -> None:
        real(part)
        if part.file == a:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(PartialFile, which, broken)
    store.script = lambda asked: Status(404) if asked.key == a.path else None
    assert finish(sync, [a]).codes == ["model_missing"]
    assert finish(sync, [b]).errors == []


def test_file_of_five_million_chunks_needs_little_memory(tmp_path: Path) -> None:
    # In a process of its own, for its peak of memory. Tracing the allocations of this one would crash it: obstore's
    # threads allocate while the trace starts and stops (github.com/python/cpython/issues/128679).
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        assert process.submit(peak_of_many_chunks, tmp_path).result(LIMIT_S) < 32 * 1024 * 1024


def peak_of_many_chunks(folder: Path) -> int:
    """The memory in bytes that a file of five million chunks adds to that of a small file."""
    many = 5_000_000
    huge = ModelFile("loras/huge.safetensors", many * 1024, "0" * 64, chunk_size=1024)
    begun = threading.Event()

    def script(asked: Asked) -> Silent | None:
        if asked.key != huge.path:
            return None
        begun.set()
        return Silent(0)

    with faulty_store() as store, pytest.MonkeyPatch.context() as monkeypatch:
        SmallDisk(folder, many, monkeypatch)
        store.objects[huge.path] = bytes(1024)
        store.script = script
        sync = opened(store, folder)
        try:
            # The first download loads obstore and starts its threads.
            assert finish(sync, [stored(store, "a")]).errors == []
            before = peak_memory()
            sync.request([huge], Urgency.JOB)
            assert begun.wait(LIMIT_S)
            return peak_memory() - before
        finally:
            sync.close()


def peak_memory() -> int:
    """The peak memory of this process in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_copy_to_the_volume_does_not_block_a_new_version(
    store: FaultyStore, tmp_path: Path, a: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = replace(settings(tmp_path, store.bucket), volume=tmp_path / "volume", volume_write=True)
    sync = ModelSync(chosen, silent())
    sync.open()
    copying, go_on = threading.Event(), threading.Event()

    def slowly(_volume: NetworkVolume, _file: ModelFile, _source: Path) -> bool:
        copying.set()
        return go_on.wait(LIMIT_S)

    monkeypatch.setattr(NetworkVolume, "store", slowly)
    try:
        assert finish(sync, [a]).errors == []
        thread = threading.Thread(target=sync.copy_to_volume)
        thread.start()
        assert copying.wait(LIMIT_S)
        newer = content(CHUNK, 77)
        store.objects[a.path] = newer
        assert finish(sync, [model(a.path, newer)]).errors == []
        go_on.set()
        thread.join(LIMIT_S)
    finally:
        sync.close()


@pytest.mark.usefixtures("disk")
def test_stopping_worker_evicts_nothing(sync: ModelSync, a: ModelFile, b: ModelFile, c: ModelFile) -> None:
    assert finish(sync, [a, b]).errors == []
    stop = threading.Event()
    space = DiskSpace(sync.tree, sync.settings, silent(), stop, lambda: 0.0)
    claim = space.claim(c, lambda: Download(c, Urgency.JOB, RemoteFile(c, sync.settings)))
    assert claim.download is not None
    stop.set()
    with pytest.raises(Stopped):
        space.open_partial(claim.download)
    assert (sync.tree.has(a), sync.tree.has(b)) == (True, True)
