"""Two versions of one path: a file that a job uses is not replaced by another download."""

import threading
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import Asked, Fault, FaultyStore, Trickle
from models.pulling import LIMIT_S, finish
from models.samples import CHUNK, content, manifest_bytes, model, settings, silent
from models.small_disk import SmallDisk
from worker_gpu.models.disk.partial_file import PartialFile
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.sync import ModelSync
from worker_gpu.models.volume.network_volume import NetworkVolume

PATH = "loras/a.safetensors"
OLD_BODY, NEW_BODY = content(CHUNK * 8, 1), content(CHUNK * 8, 2)
OLD, NEW = model(PATH, OLD_BODY), model(PATH, NEW_BODY)


class Held:
    """Stalls the bodies of the old version until they are released."""

    def __init__(self, store: FaultyStore) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        store.script = self.script
        self.store = store

    def script(self, asked: Asked) -> Fault | None:
        return Trickle(self.gate, CHUNK // 2) if self.store.objects.get(asked.key) == OLD_BODY else None

    def gate(self) -> None:
        self.begun.set()
        self.go_on.wait(LIMIT_S)


@pytest.fixture
def sync(store: FaultyStore, tmp_path: Path) -> Generator[ModelSync]:
    made = ModelSync(settings(tmp_path, store.bucket), silent())
    made.open()
    yield made
    made.close()


def offer(store: FaultyStore, file: ModelFile, body: bytes) -> ModelFile:
    store.objects.update({PATH: body, "manifest.json": manifest_bytes(file)})
    return file


def here(tmp_path: Path) -> bytes:
    return (tmp_path / "models" / PATH).read_bytes()


def parts(tmp_path: Path) -> list[str]:
    return [entry.name for entry in (tmp_path / "models" / ".sync" / "parts").iterdir()]


def test_late_download_of_an_old_version_changes_nothing(store: FaultyStore, sync: ModelSync, tmp_path: Path) -> None:
    offer(store, OLD, OLD_BODY)
    held = Held(store)
    old = sync.request([OLD], Urgency.BACKGROUND).futures()[0]
    assert held.begun.wait(LIMIT_S)
    offer(store, NEW, NEW_BODY)
    with sync.pinned([NEW]):
        assert finish(sync, [NEW]).errors == []
        held.go_on.set()
        error = old.exception(LIMIT_S)
        assert isinstance(error, ModelError)
        assert error.code == "model_replaced"
        assert sync.tree.has(NEW)
        assert here(tmp_path) == NEW_BODY
    assert parts(tmp_path) == []


def test_request_of_a_present_version_cancels_another_download(
    store: FaultyStore, sync: ModelSync, tmp_path: Path
) -> None:
    offer(store, NEW, NEW_BODY)
    assert finish(sync, [NEW]).errors == []
    # The manifest returns to the previous version, and then to the new one again.
    offer(store, OLD, OLD_BODY)
    held = Held(store)
    old = sync.request([OLD], Urgency.BACKGROUND).futures()[0]
    assert held.begun.wait(LIMIT_S)
    with sync.pinned([NEW]):
        assert sync.request([NEW], Urgency.JOB).present == [NEW]
        held.go_on.set()
        assert isinstance(old.exception(LIMIT_S), ModelError)
        assert here(tmp_path) == NEW_BODY


def test_version_requested_again_during_its_cancellation_is_downloaded(
    store: FaultyStore, sync: ModelSync, tmp_path: Path
) -> None:
    offer(store, OLD, OLD_BODY)
    held = Held(store)
    first = sync.request([OLD], Urgency.BACKGROUND).futures()[0]
    assert held.begun.wait(LIMIT_S)
    offer(store, NEW, NEW_BODY)
    assert finish(sync, [NEW]).errors == []
    store.script = lambda _: None
    offer(store, OLD, OLD_BODY)
    again = sync.request([OLD], Urgency.JOB).futures()[0]
    held.go_on.set()
    again.result(LIMIT_S)
    assert isinstance(first.exception(LIMIT_S), ModelError)
    assert here(tmp_path) == OLD_BODY
    assert sync.tree.has(OLD)


def test_late_link_does_not_replace_a_newer_version(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go_on = threading.Event(), threading.Event()
    volume = tmp_path / "volume"
    (volume / "loras").mkdir(parents=True)
    (volume / PATH).write_bytes(OLD_BODY)
    real = NetworkVolume.find

    def slowly(self: NetworkVolume, file: ModelFile) -> Path | None:
        found = real(self, file)
        if file == OLD:
            looking.set()
            go_on.wait(LIMIT_S)
        return found

    monkeypatch.setattr(NetworkVolume, "find", slowly)
    sync = ModelSync(replace(settings(tmp_path, store.bucket), volume=volume), silent())
    sync.open()
    try:
        old = sync.request([OLD], Urgency.BACKGROUND).futures()[0]
        assert looking.wait(LIMIT_S)
        offer(store, NEW, NEW_BODY)
        assert finish(sync, [NEW]).errors == []
        go_on.set()
        error = old.exception(LIMIT_S)
        assert isinstance(error, ModelError)
        assert error.code == "model_replaced"
        assert (sync.tree.has(NEW), here(tmp_path)) == (True, NEW_BODY)
    finally:
        sync.close()


def test_superseded_download_ends_even_if_closing_its_file_fails(
    store: FaultyStore, sync: ModelSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(store, OLD, OLD_BODY)
    held = Held(store)
    real = PartialFile.close

    def broken(part: PartialFile) -> None:
        real(part)
        if part.file == OLD:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(PartialFile, "close", broken)
    old = sync.request([OLD], Urgency.BACKGROUND).futures()[0]
    assert held.begun.wait(LIMIT_S)
    offer(store, NEW, NEW_BODY)
    assert finish(sync, [NEW]).errors == []
    held.go_on.set()
    assert isinstance(old.exception(LIMIT_S), ModelError)


@pytest.mark.parametrize("room", [8, 100], ids=["no room for both", "room for both"])
def test_version_used_by_a_job_is_kept_until_the_job_ends(
    store: FaultyStore, sync: ModelSync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    SmallDisk(tmp_path / "models", room + 2, monkeypatch)
    offer(store, OLD, OLD_BODY)
    with ExitStack() as job:
        job.enter_context(sync.pinned([OLD]))
        assert finish(sync, [OLD]).errors == []
        offer(store, NEW, NEW_BODY)
        assert finish(sync, [NEW]).codes == ["disk_full" if room == 8 else "model_replaced"]
        assert here(tmp_path) == OLD_BODY
    asked = len(store.of(PATH))
    assert finish(sync, [NEW]).errors == []
    assert here(tmp_path) == NEW_BODY
    # All chunks had arrived; only the rename was missing.
    assert len(store.of(PATH)) - asked == (8 if room == 8 else 0)


def test_previous_version_is_evicted_first_for_its_replacement(
    store: FaultyStore, sync: ModelSync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallDisk(tmp_path / "models", 18, monkeypatch)
    other_body = content(CHUNK * 8, 3)
    other = model("loras/other.safetensors", other_body)
    store.objects[other.path] = other_body
    offer(store, OLD, OLD_BODY)
    # The other file is the least recently used one.
    assert finish(sync, [other]).errors == []
    assert finish(sync, [OLD]).errors == []
    offer(store, NEW, NEW_BODY)
    with sync.pinned([NEW]):
        assert finish(sync, [NEW]).errors == []
    assert here(tmp_path) == NEW_BODY
    assert sync.tree.has(other)
    assert sync.evicted == 1
