"""Models as boot and a job see them: what is awaited, what is pinned, and where files lie already."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import Asked, Fault, FaultyStore, Status
from models.samples import CHUNK, content, manifest_bytes, model, settings, silent
from worker_gpu.models.disk.local_tree import LocalTree
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromHub, FromUrl, ModelFile
from worker_gpu.models.service import Models
from worker_gpu.models.settings import ModelSettings
from worker_gpu.models.sync import ModelSync, Progress
from worker_gpu.shape import JsonObject

pytestmark = pytest.mark.asyncio

HUGE = replace(model("loras/huge.safetensors", b"x", groups=["boot"]), size=2**70)
BOOT, LAZY, BEHIND = "checkpoints/boot.safetensors", "loras/style.safetensors", "vae/later.safetensors"


def offer(store: FaultyStore, *files: tuple[ModelFile, bytes]) -> None:
    store.objects.update({file.path: body for file, body in files})
    store.objects["manifest.json"] = manifest_bytes(*(file for file, _ in files))


def sample(path: str, seed: int, *groups: str) -> tuple[ModelFile, bytes]:
    body = content(CHUNK * 3 + seed, seed)
    return model(path, body, groups=groups), body


def graph(**inputs: str) -> dict[str, JsonObject]:
    return {"1": {"class_type": "Loader", "inputs": {**inputs}}}


@asynccontextmanager
async def models_of(chosen: ModelSettings) -> AsyncGenerator[Models]:
    models = Models(chosen, silent())
    await models.start()
    try:
        yield models
    finally:
        await asyncio.wait_for(models.close(), 10)


async def test_boot_brings_its_group_and_a_job_what_its_graph_names(store: FaultyStore, tmp_path: Path) -> None:
    offer(store, sample(BOOT, 1, "boot"), sample(LAZY, 2), sample(BEHIND, 3, "background"))
    told: list[Progress] = []
    async with models_of(settings(tmp_path, store.bucket)) as models:
        report = await models.boot()
        assert (report.files, report.fetched.files, report.errors) == (1, 1, ())
        assert not (tmp_path / "models" / LAZY).exists()
        wanted = graph(lora_name="style.safetensors", ckpt_name="boot.safetensors")
        assert models.missing_bytes(wanted) == CHUNK * 3 + 2
        async with models.needed_by(wanted, told.append) as fetched:
            assert fetched.files == 1
            assert (tmp_path / "models" / LAZY).read_bytes() == store.objects[LAZY]
        assert told[-1] == Progress(CHUNK * 3 + 2, CHUNK * 3 + 2, 1, 1)
        async with models.needed_by(wanted) as again:
            assert (again.files, again.bytes) == (0, 0)
        assert json.loads(json.dumps(models.health()))["here"]["files"] == 2


async def test_a_model_that_cannot_be_had_fails_its_job_and_no_other(store: FaultyStore, tmp_path: Path) -> None:
    offer(store, sample(BOOT, 1, "boot"), sample(LAZY, 2))
    store.script = lambda asked: Status(404) if asked.key == LAZY else None
    async with models_of(settings(tmp_path, store.bucket)) as models:
        with pytest.raises(ModelError) as told:
            async with models.needed_by(graph(lora_name="style.safetensors")):
                pass
        assert (told.value.code, told.value.path) == ("model_missing", LAZY)
        async with models.needed_by(graph(ckpt_name="boot.safetensors")) as fetched:
            assert fetched.files == 1


@pytest.mark.parametrize(
    "bad", [b"{", manifest_bytes(model(LAZY, b"x", source=FromUrl("https://[::1/x"))), manifest_bytes(HUGE)]
)
async def test_a_bad_manifest_leaves_a_working_worker_with_what_it_has(
    store: FaultyStore, tmp_path: Path, bad: bytes
) -> None:
    offer(store, sample(BOOT, 1, "boot"))
    async with models_of(settings(tmp_path, store.bucket)) as models:
        await models.boot()
    store.objects["manifest.json"] = bad
    async with models_of(settings(tmp_path, store.bucket)) as models:
        report = await models.boot()
        assert [error.code for error in report.errors] == ["manifest_invalid"]
        async with models.needed_by(graph(ckpt_name="boot.safetensors")) as fetched:
            assert fetched.files == 0


async def test_a_model_replaced_while_it_is_read_comes_as_the_new_manifest_says(
    store: FaultyStore, tmp_path: Path
) -> None:
    offer(store, sample(LAZY, 2))

    def replaced(asked: Asked) -> Fault | None:
        if asked.key == LAZY and asked.number == 1:
            offer(store, sample(LAZY, 7))
        return None

    store.script = replaced
    one_lane = settings(tmp_path, store.bucket, connections=1)
    async with models_of(one_lane) as models, models.needed_by(graph(lora_name="style.safetensors")):
        assert (tmp_path / "models" / LAZY).read_bytes() == content(CHUNK * 3 + 7, 7)


async def test_room_is_made_by_the_least_used_and_never_by_what_a_job_needs(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "b", "c"]
    offer(store, *(sample(f"loras/{name}.safetensors", 10) for name in names))
    disk = 2 * (CHUNK * 3 + 10)
    folder = tmp_path / "models"

    def free(_: LocalTree) -> int:
        return disk - sum(path.stat().st_size for path in folder.rglob("*.safetensors"))

    monkeypatch.setattr(LocalTree, "free_bytes", free)
    roomy = settings(tmp_path, store.bucket)
    async with models_of(roomy) as models, models.needed_by(graph(lora_name="a.safetensors")):
        async with models.needed_by(graph(lora_name="b.safetensors")):
            with pytest.raises(ModelError) as told:
                async with models.needed_by(graph(lora_name="c.safetensors")):
                    pass
            assert told.value.code == "disk_full"
        async with models.needed_by(graph(lora_name="c.safetensors")):
            assert sorted(path.name for path in folder.rglob("*.safetensors")) == ["a.safetensors", "c.safetensors"]


async def test_without_settings_there_is_nothing_to_do(tmp_path: Path) -> None:
    async with models_of(ModelSettings(tmp_path)) as models:
        assert (await models.boot()).files == 0
        models.start_background()
        async with models.needed_by(graph(ckpt_name="x.safetensors")) as fetched:
            assert fetched.files == 0
        assert models.health()["enabled"] is False


async def test_the_volume_is_read_through_and_written_by_one(store: FaultyStore, tmp_path: Path) -> None:
    file, body = sample(BEHIND, 3, "background")
    offer(store, (file, body))
    volume = tmp_path / "volume"
    shared = replace(settings(tmp_path / "first", store.bucket), volume=volume, volume_write=True)
    first = ModelSync(shared, silent())
    await asyncio.to_thread(first.open)
    first.load_manifest()
    await asyncio.wait_for(asyncio.wrap_future(first.request([file], Urgency.JOB).futures()[0]), 10)
    (volume / ".sync").mkdir(parents=True)
    (volume / ".sync" / "writer").write_text("another worker")
    assert first.copy_to_volume() == 0
    assert not (volume / BEHIND).exists()
    # The other worker has died: its lease runs out.
    os.utime(volume / ".sync" / "writer", (0, 0))
    assert first.copy_to_volume() == 1
    assert (volume / BEHIND).read_bytes() == body
    first.close()
    asked = len(store.of(BEHIND))
    second = replace(shared, folder=tmp_path / "second" / "models")
    async with models_of(second) as models, models.needed_by(graph(vae_name="later.safetensors")):
        assert (second.folder / BEHIND).readlink() == volume / BEHIND
        assert (second.folder / BEHIND).read_bytes() == body
    assert len(store.of(BEHIND)) == asked
    (volume / BEHIND).write_bytes(bytes(len(body)))
    async with models_of(second) as models, models.needed_by(graph(vae_name="later.safetensors")):
        assert (second.folder / BEHIND).read_bytes() == body
    assert len(store.of(BEHIND)) > asked


async def test_a_gated_repository_says_where_to_ask_and_a_cached_one_is_used(
    store: FaultyStore, tmp_path: Path
) -> None:
    body = content(CHUNK * 2, 4)
    file = model("unet/flux.safetensors", body, source=FromHub("lab/flux", "flux.safetensors"), chunked=False)
    store.objects["manifest.json"] = manifest_bytes(file)
    chosen = replace(settings(tmp_path, store.bucket), hub=store.url)
    store.script = lambda asked: Status(401, b"", {"X-Error-Code": "GatedRepo"}) if "lab/flux" in asked.key else None
    async with models_of(chosen) as models:
        with pytest.raises(ModelError) as told:
            async with models.needed_by(graph(unet_name="flux.safetensors")):
                pass
    assert told.value.code == "model_denied"
    assert f"{store.url}/lab/flux" in told.value.message
    assert "HF_TOKEN" in told.value.message
    kept = tmp_path / "hub" / "models--lab--flux"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc123")
    (kept / "snapshots" / "abc123").mkdir(parents=True)
    (kept / "snapshots" / "abc123" / "flux.safetensors").write_bytes(body)
    cached = replace(chosen, hub_caches=(tmp_path / "hub",))
    async with models_of(cached) as models, models.needed_by(graph(unet_name="flux.safetensors")):
        assert (tmp_path / "models/unet/flux.safetensors").is_symlink()


async def test_the_hub_token_stays_at_the_hub(store: FaultyStore, tmp_path: Path) -> None:
    body = content(CHUNK * 2, 4)
    file = model("unet/flux.safetensors", body, source=FromHub("lab/flux", "flux.safetensors"), chunked=False)
    store.objects["manifest.json"] = manifest_bytes(file)
    store.objects["cdn/blob"] = body
    elsewhere = store.url.replace("127.0.0.1", "localhost")

    def hub(asked: Asked) -> Fault | None:
        return Status(302, b"", {"Location": f"{elsewhere}/cdn/blob"}) if "lab/flux" in asked.key else None

    store.script = hub
    chosen = replace(settings(tmp_path, store.bucket), hub=store.url, hub_token="hf_secret")
    async with models_of(chosen) as models, models.needed_by(graph(unet_name="flux.safetensors")):
        assert (tmp_path / "models/unet/flux.safetensors").read_bytes() == body
    hub_asked = [asked for asked in store.asked if "lab/flux" in asked.key]
    assert all(asked.headers["authorization"] == "Bearer hf_secret" for asked in hub_asked)
    assert hub_asked
    assert all("authorization" not in asked.headers for asked in store.of("cdn/blob"))
