"""Models of a worker at boot and in jobs: downloads, pins, and files on the volume or in caches."""

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
from worker_gpu.json_readers import JsonObject, maybe_object
from worker_gpu.models.disk.local_tree import LocalTree
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromHub, FromUrl, ModelFile
from worker_gpu.models.service import Models
from worker_gpu.models.settings import ModelSettings
from worker_gpu.models.sync import ModelSync, Progress

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


async def test_boot_downloads_its_group_and_a_job_its_models(store: FaultyStore, tmp_path: Path) -> None:
    offer(store, sample(BOOT, 1, "boot"), sample(LAZY, 2), sample(BEHIND, 3, "background"))
    reported: list[Progress] = []
    async with models_of(settings(tmp_path, store.bucket)) as models:
        report = await models.boot()
        assert (report.files, report.fetched.files, report.errors) == (1, 1, ())
        assert not (tmp_path / "models" / LAZY).exists()
        wanted = graph(lora_name="style.safetensors", ckpt_name="boot.safetensors")
        assert models.missing_bytes(wanted) == CHUNK * 3 + 2
        async with models.needed_by(wanted, reported.append) as fetched:
            assert fetched.files == 1
            assert (tmp_path / "models" / LAZY).read_bytes() == store.objects[LAZY]
        assert reported[-1] == Progress(CHUNK * 3 + 2, CHUNK * 3 + 2, 1, 1)
        async with models.needed_by(wanted) as again:
            assert (again.files, again.bytes) == (0, 0)
        assert json.loads(json.dumps(models.health()))["here"]["files"] == 2


async def test_unavailable_model_fails_only_its_job(store: FaultyStore, tmp_path: Path) -> None:
    offer(store, sample(BOOT, 1, "boot"), sample(LAZY, 2))
    store.script = lambda asked: Status(404) if asked.key == LAZY else None
    async with models_of(settings(tmp_path, store.bucket)) as models:
        with pytest.raises(ModelError) as raised:
            async with models.needed_by(graph(lora_name="style.safetensors")):
                pass
        assert (raised.value.code, raised.value.path) == ("model_missing", LAZY)
        async with models.needed_by(graph(ckpt_name="boot.safetensors")) as fetched:
            assert fetched.files == 1


@pytest.mark.parametrize(
    "bad", [b"{", manifest_bytes(model(LAZY, b"x", source=FromUrl("https://[::1/x"))), manifest_bytes(HUGE)]
)
async def test_bad_manifest_keeps_the_present_models_usable(store: FaultyStore, tmp_path: Path, bad: bytes) -> None:
    offer(store, sample(BOOT, 1, "boot"))
    async with models_of(settings(tmp_path, store.bucket)) as models:
        await models.boot()
    store.objects["manifest.json"] = bad
    async with models_of(settings(tmp_path, store.bucket)) as models:
        report = await models.boot()
        assert [error.code for error in report.errors] == ["manifest_invalid"]
        assert maybe_object(maybe_object(models.health()["manifest"])["error"])["code"] == "manifest_invalid"
        async with models.needed_by(graph(ckpt_name="boot.safetensors")) as fetched:
            assert fetched.files == 0


async def test_model_replaced_during_its_download_follows_the_new_manifest(store: FaultyStore, tmp_path: Path) -> None:
    offer(store, sample(LAZY, 2))

    def replaced(asked: Asked) -> Fault | None:
        if asked.key == LAZY and asked.number == 1:
            offer(store, sample(LAZY, 7))
        return None

    store.script = replaced
    chosen = settings(tmp_path, store.bucket, connections=1)
    async with models_of(chosen) as models, models.needed_by(graph(lora_name="style.safetensors")):
        assert (tmp_path / "models" / LAZY).read_bytes() == content(CHUNK * 3 + 7, 7)


async def test_least_recently_used_model_is_evicted_but_no_pinned_one(
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
            with pytest.raises(ModelError) as raised:
                async with models.needed_by(graph(lora_name="c.safetensors")):
                    pass
            assert raised.value.code == "disk_full"
        async with models.needed_by(graph(lora_name="c.safetensors")):
            assert sorted(path.name for path in folder.rglob("*.safetensors")) == ["a.safetensors", "c.safetensors"]


async def test_models_without_settings_do_nothing(tmp_path: Path) -> None:
    async with models_of(ModelSettings(tmp_path)) as models:
        assert (await models.boot()).files == 0
        models.start_background()
        async with models.needed_by(graph(ckpt_name="x.safetensors")) as fetched:
            assert fetched.files == 0
        assert models.health()["enabled"] is False


async def test_second_worker_links_to_the_copy_on_the_volume(store: FaultyStore, tmp_path: Path) -> None:
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
    # The other worker has died, so its lease expires.
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


async def test_gated_model_is_linked_from_the_hub_cache(store: FaultyStore, tmp_path: Path) -> None:
    body = content(CHUNK * 2, 4)
    file = model("unet/flux.safetensors", body, source=FromHub("lab/flux", "flux.safetensors"), chunked=False)
    store.objects["manifest.json"] = manifest_bytes(file)
    chosen = replace(settings(tmp_path, store.bucket), hub=store.url)
    store.script = lambda asked: Status(401, b"", {"X-Error-Code": "GatedRepo"}) if "lab/flux" in asked.key else None
    kept = tmp_path / "hub" / "models--lab--flux"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc123")
    (kept / "snapshots" / "abc123").mkdir(parents=True)
    (kept / "snapshots" / "abc123" / "flux.safetensors").write_bytes(body)
    cached = replace(chosen, hub_caches=(tmp_path / "hub",))
    async with models_of(cached) as models, models.needed_by(graph(unet_name="flux.safetensors")):
        assert (tmp_path / "models/unet/flux.safetensors").is_symlink()


async def test_hub_token_is_not_sent_to_other_hosts(store: FaultyStore, tmp_path: Path) -> None:
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
