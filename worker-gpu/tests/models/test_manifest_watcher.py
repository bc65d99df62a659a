"""When the manifest is read again, and how little a failing store delays a worker and its jobs."""

import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import Asked, Fault, FaultyStore, Silent, Status
from models.samples import CHUNK, QUICK, Clock, content, manifest_bytes, model, settings, with_timeouts
from worker_gpu.json_readers import JsonObject
from worker_gpu.log import Log
from worker_gpu.models import sync as sync_module
from worker_gpu.models.download.bucket import BucketClient
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromBucket, ModelFile
from worker_gpu.models.manifest.manifest_watcher import (
    CACHED_ATTEMPTS,
    FAILED_PAUSE_S,
    MAX_AGE_S,
    READ_TIMEOUT_S,
    UNCHANGED_PAUSE_S,
)
from worker_gpu.models.service import REPLACED_PAUSES_S, Fetched, Models
from worker_gpu.models.settings import Bucket, ModelSettings, TransferTimeouts
from worker_gpu.models.sync import Deps

pytestmark = pytest.mark.asyncio

MANIFEST, HERE, NEW = "manifest.json", "loras/here.safetensors", "loras/new.safetensors"
BODY = content(CHUNK * 2, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def no_pause(_: float) -> None:
    """A pause of no length."""


@asynccontextmanager
async def models_of(
    chosen: ModelSettings, clock: Clock, pause: Callable[[float], Awaitable[None]] = no_pause
) -> AsyncGenerator[Models]:
    models = Models(chosen, Log(io.StringIO()), Deps(now=clock), pause)
    await models.start()
    try:
        yield models
    finally:
        await models.close()


def graph(*names: str) -> dict[str, JsonObject]:
    return {str(n): {"class_type": "LoraLoader", "inputs": {"lora_name": name}} for n, name in enumerate(names)}


async def run(models: Models, *names: str) -> Fetched:
    async with models.needed_by(graph(*names)) as fetched:
        return fetched


def offer(store: FaultyStore, *paths: str) -> None:
    store.objects.update(dict.fromkeys(paths, BODY))
    store.objects[MANIFEST] = manifest_bytes(*(model(path, BODY) for path in paths))


def down(asked: Asked) -> Fault | None:
    return Status(503) if asked.key == MANIFEST else None


async def test_failing_store_gets_all_attempts_only_without_a_manifest(
    store: FaultyStore, tmp_path: Path, clock: Clock
) -> None:
    offer(store, HERE)
    store.script = down
    async with models_of(settings(tmp_path, store.bucket), clock):
        assert len(store.of(MANIFEST)) == QUICK.attempts
    store.script = lambda _: None
    async with models_of(settings(tmp_path, store.bucket), clock) as models:
        assert (await run(models, "here.safetensors")).files == 1
    asked = len(store.of(MANIFEST))
    store.script = down
    async with models_of(settings(tmp_path, store.bucket), clock) as models:
        assert len(store.of(MANIFEST)) == asked + CACHED_ATTEMPTS
        assert [error.code for error in (await models.boot()).errors] == ["store_unreachable"]
        await run(models, "here.safetensors")


@pytest.mark.parametrize("held", [True, False])
async def test_failing_store_is_not_read_again_within_failed_pause(
    store: FaultyStore, tmp_path: Path, clock: Clock, held: bool
) -> None:
    if held:
        offer(store, HERE)
        async with models_of(settings(tmp_path, store.bucket), clock):
            pass
    store.script = down
    async with models_of(settings(tmp_path, store.bucket), clock) as models:
        for _ in range(3):
            asked = len(store.of(MANIFEST))
            for _ in range(5):
                await run(models, "on-the-volume.safetensors")
            assert len(store.of(MANIFEST)) == asked
            clock.moment += FAILED_PAUSE_S
            await run(models, "on-the-volume.safetensors")
            assert len(store.of(MANIFEST)) == asked + CACHED_ATTEMPTS
        # The store works again.
        offer(store, HERE, NEW)
        store.script = lambda _: None
        clock.moment += FAILED_PAUSE_S
        assert (await run(models, "new.safetensors")).files == 1


async def test_manifest_read_uses_its_own_timeout(
    store: FaultyStore, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[TransferTimeouts] = []

    class Noted(BucketClient):
        def __init__(self, _bucket: Bucket, timeouts: TransferTimeouts) -> None:
            used.append(timeouts)
            super().__init__(store.bucket, replace(timeouts, read_timeout_s=0.05))

    monkeypatch.setattr(sync_module, "BucketClient", Noted)
    offer(store, HERE)
    chosen = with_timeouts(
        settings(tmp_path, store.bucket), replace(TransferTimeouts(), first_pause_s=0.0, max_pause_s=0.0)
    )
    async with models_of(chosen, clock) as models:
        store.script = lambda asked: Silent(0) if asked.key == MANIFEST else None
        clock.moment += MAX_AGE_S + 1
        await run(models, "here.safetensors")
    assert [(one.attempts, one.read_timeout_s) for one in used] == [
        (TransferTimeouts().attempts, READ_TIMEOUT_S),
        (CACHED_ATTEMPTS, READ_TIMEOUT_S),
    ]


async def test_unknown_model_is_found_after_unchanged_pause(store: FaultyStore, tmp_path: Path, clock: Clock) -> None:
    offer(store, HERE)
    async with models_of(settings(tmp_path, store.bucket), clock) as models:
        assert (await run(models, "new.safetensors")).files == 0
        asked = len(store.of(MANIFEST))
        await run(models, "new.safetensors")
        assert len(store.of(MANIFEST)) == asked
        offer(store, HERE, NEW)
        clock.moment += UNCHANGED_PAUSE_S
        assert (await run(models, "new.safetensors")).files == 1


async def test_manifest_older_than_max_age_is_read_again(store: FaultyStore, tmp_path: Path, clock: Clock) -> None:
    offer(store, HERE)
    async with models_of(settings(tmp_path, store.bucket), clock) as models:
        for moved, more in ((MAX_AGE_S, 0), (1, 1), (MAX_AGE_S, 0), (-3600, 1)):
            asked = len(store.of(MANIFEST))
            clock.moment += moved
            await run(models, "here.safetensors")
            assert len(store.of(MANIFEST)) == asked + more


def next_version(store: FaultyStore) -> tuple[ModelFile, bytes]:
    """A file whose object has been replaced, while the manifest still lists the previous version."""
    new = content(CHUNK * 2 + 5, 2)
    old_file = replace(model(HERE, BODY), source=FromBucket("the-tag-before"))
    offer(store, HERE, NEW)
    store.objects[MANIFEST] = manifest_bytes(old_file, model(NEW, BODY))
    store.objects[HERE] = new
    return model(HERE, new), new


async def test_job_during_a_push_waits_for_the_manifest(store: FaultyStore, tmp_path: Path, clock: Clock) -> None:
    new_file, new = next_version(store)
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 2:
            store.objects[MANIFEST] = manifest_bytes(new_file, model(NEW, BODY))

    async with models_of(settings(tmp_path, store.bucket), clock, pause) as models:
        fetched = await run(models, "here.safetensors", "new.safetensors")
        assert (tmp_path / "models" / HERE).read_bytes() == new
        # Both files of the job count, not only the one whose download was repeated.
        assert (fetched.files, fetched.bytes) == (2, len(new) + len(BODY))
        assert models.health()["errors"] == []
    assert paused == list(REPLACED_PAUSES_S[:2])


async def test_replaced_object_without_a_manifest_fails_the_job(
    store: FaultyStore, tmp_path: Path, clock: Clock
) -> None:
    next_version(store)
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    async with models_of(settings(tmp_path, store.bucket), clock, pause) as models:
        with pytest.raises(ModelError) as raised:
            await run(models, "here.safetensors", "new.safetensors")
        assert (raised.value.code, raised.value.path) == ("model_replaced", HERE)
        assert (await run(models, "new.safetensors")).files == 0
    assert paused == list(REPLACED_PAUSES_S)


async def test_manifest_loaded_by_another_download_is_used(store: FaultyStore, tmp_path: Path, clock: Clock) -> None:
    new_file, new = next_version(store)
    async with models_of(settings(tmp_path, store.bucket), clock) as models:

        def looked(asked: Asked) -> Fault | None:
            if asked.key == HERE and asked.number == 0:
                # Another download has met the same error and read the manifest first.
                store.objects[MANIFEST] = manifest_bytes(new_file, model(NEW, BODY))
                models._sync.load_manifest()  # pyright: ignore[reportPrivateUsage]
            return None

        store.script = looked
        assert (await run(models, "here.safetensors")).files == 1
    assert (tmp_path / "models" / HERE).read_bytes() == new
