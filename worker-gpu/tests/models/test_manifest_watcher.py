"""The manifest is looked at when that may help, and a store that is down costs a worker and its jobs little."""

import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import Asked, Fault, FaultyStore, Silent, Status
from models.samples import CHUNK, QUICK, Clock, content, manifest_bytes, model, settings, with_timeouts
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
from worker_gpu.shape import JsonObject

pytestmark = pytest.mark.asyncio

MANIFEST, HERE, NEW = "manifest.json", "loras/here.safetensors", "loras/new.safetensors"
BODY = content(CHUNK * 2, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def no_pause(_: float) -> None:
    """Nobody needs to wait."""


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


async def test_a_store_that_is_down_is_tried_for_long_only_by_a_worker_that_has_no_manifest(
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
async def test_a_store_that_is_down_is_left_alone_for_a_while(
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
        # It is well again.
        offer(store, HERE, NEW)
        store.script = lambda _: None
        clock.moment += FAILED_PAUSE_S
        assert (await run(models, "new.safetensors")).files == 1


async def test_a_store_that_says_nothing_is_not_waited_for_as_for_a_model(
    store: FaultyStore, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    patiences: list[TransferTimeouts] = []

    class Noted(BucketClient):
        def __init__(self, _bucket: Bucket, patience: TransferTimeouts) -> None:
            patiences.append(patience)
            super().__init__(store.bucket, replace(patience, read_timeout_s=0.05))

    monkeypatch.setattr(sync_module, "BucketClient", Noted)
    offer(store, HERE)
    chosen = with_timeouts(
        settings(tmp_path, store.bucket), replace(TransferTimeouts(), first_pause_s=0.0, max_pause_s=0.0)
    )
    async with models_of(chosen, clock) as models:
        store.script = lambda asked: Silent(0) if asked.key == MANIFEST else None
        clock.moment += MAX_AGE_S + 1
        await run(models, "here.safetensors")
    assert [(one.attempts, one.read_timeout_s) for one in patiences] == [
        (TransferTimeouts().attempts, READ_TIMEOUT_S),
        (CACHED_ATTEMPTS, READ_TIMEOUT_S),
    ]


async def test_what_was_pushed_a_moment_ago_is_found(store: FaultyStore, tmp_path: Path, clock: Clock) -> None:
    offer(store, HERE)
    async with models_of(settings(tmp_path, store.bucket), clock) as models:
        assert (await run(models, "new.safetensors")).files == 0
        asked = len(store.of(MANIFEST))
        await run(models, "new.safetensors")
        assert len(store.of(MANIFEST)) == asked
        offer(store, HERE, NEW)
        clock.moment += UNCHANGED_PAUSE_S
        assert (await run(models, "new.safetensors")).files == 1


async def test_an_old_manifest_is_looked_at_by_jobs_that_lack_nothing(
    store: FaultyStore, tmp_path: Path, clock: Clock
) -> None:
    offer(store, HERE)
    async with models_of(settings(tmp_path, store.bucket), clock) as models:
        for moved, more in ((MAX_AGE_S, 0), (1, 1), (MAX_AGE_S, 0), (-3600, 1)):
            asked = len(store.of(MANIFEST))
            clock.moment += moved
            await run(models, "here.safetensors")
            assert len(store.of(MANIFEST)) == asked + more


def next_version(store: FaultyStore) -> tuple[ModelFile, bytes]:
    """A file and its next version, of which the object is there already and the manifest is not."""
    new = content(CHUNK * 2 + 5, 2)
    old_file = replace(model(HERE, BODY), source=FromBucket("the-tag-before"))
    offer(store, HERE, NEW)
    store.objects[MANIFEST] = manifest_bytes(old_file, model(NEW, BODY))
    store.objects[HERE] = new
    return model(HERE, new), new


async def test_a_job_in_the_middle_of_a_push_waits_for_the_manifest_and_takes_the_new_version(
    store: FaultyStore, tmp_path: Path, clock: Clock
) -> None:
    new_file, new = next_version(store)
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 2:
            store.objects[MANIFEST] = manifest_bytes(new_file, model(NEW, BODY))

    async with models_of(settings(tmp_path, store.bucket), clock, pause) as models:
        fetched = await run(models, "here.safetensors", "new.safetensors")
        assert (tmp_path / "models" / HERE).read_bytes() == new
        # Both files of the job, not only the one that was read again.
        assert (fetched.files, fetched.bytes) == (2, len(new) + len(BODY))
        assert models.health()["errors"] == []
    assert paused == list(REPLACED_PAUSES_S[:2])


async def test_an_object_that_no_manifest_ever_follows_fails_its_job_soon(
    store: FaultyStore, tmp_path: Path, clock: Clock
) -> None:
    next_version(store)
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    async with models_of(settings(tmp_path, store.bucket), clock, pause) as models:
        with pytest.raises(ModelError) as told:
            await run(models, "here.safetensors", "new.safetensors")
        assert (told.value.code, told.value.path) == ("model_replaced", HERE)
        assert (await run(models, "new.safetensors")).files == 0
    assert paused == list(REPLACED_PAUSES_S)


async def test_a_manifest_that_somebody_else_has_read_meanwhile_counts(
    store: FaultyStore, tmp_path: Path, clock: Clock
) -> None:
    new_file, new = next_version(store)
    async with models_of(settings(tmp_path, store.bucket), clock) as models:

        def looked(asked: Asked) -> Fault | None:
            if asked.key == HERE and asked.number == 0:
                # The background group has met the same and looked first.
                store.objects[MANIFEST] = manifest_bytes(new_file, model(NEW, BODY))
                models._sync.load_manifest()  # pyright: ignore[reportPrivateUsage]
            return None

        store.script = looked
        assert (await run(models, "here.safetensors")).files == 1
    assert (tmp_path / "models" / HERE).read_bytes() == new
