"""Repeated pushes to R2's local S3 endpoint: options that are not given keep their values, and the manifest matches the
bucket at every moment and after every failure."""

import asyncio
import hashlib
import io
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from models.local_r2 import bucket_env, r2
from models.pulling import pull
from models.samples import QUICK, content, settings, silent
from worker_gpu.json_readers import JsonObject
from worker_gpu.models.cli.commands import main
from worker_gpu.models.cli.push import Pusher
from worker_gpu.models.download.bucket import BucketClient
from worker_gpu.models.manifest.manifest import FromBucket, FromHub, Manifest, ModelFile
from worker_gpu.models.manifest.manifest_entries import with_entries
from worker_gpu.models.service import Models
from worker_gpu.models.settings import Bucket

A, B, C = "checkpoints/sdxl.safetensors", "loras/b.safetensors", "vae/c.safetensors"


@pytest.fixture(scope="module")
def endpoint() -> Generator[Bucket]:
    with r2() as bucket:
        yield bucket


class Place:
    """A models folder, and a prefix of its own in the bucket."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.bucket = bucket
        self.folder = folder
        self._env = bucket_env(bucket, folder)

    def put(self, path: str, body: bytes) -> str:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        return str(file)

    def run(self, *argv: str) -> tuple[int, str]:
        out = io.StringIO()
        code = main(argv, self._env, out)
        return code, out.getvalue()

    def push(self, *argv: str) -> None:
        code, said = self.run("push", *argv)
        assert code == 0, said

    def manifest(self) -> dict[str, ModelFile]:
        pusher = Pusher(self.bucket, QUICK, BucketClient)
        return dict(pusher.manifest().files)

    def update(self, change: Callable[[Manifest], Manifest]) -> None:
        pusher = Pusher(self.bucket, QUICK, BucketClient)
        pusher.update_manifest(change)


@pytest.fixture
def place(endpoint: Bucket, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return Place(replace(endpoint, prefix=f"{name}/"), tmp_path / "own")


def said_of(file: ModelFile) -> tuple[tuple[str, ...], int]:
    return file.groups, file.priority


def test_push_of_the_folder_keeps_the_boot_group(place: Place) -> None:
    one = place.put(A, content(1000, 1))
    place.put(B, content(1000, 2))
    place.push(one, "--group", "boot", "--priority", "10")
    place.push(str(place.folder))
    assert {path: said_of(file) for path, file in place.manifest().items()} == {A: (("boot",), 10), B: ((), 0)}


def test_new_version_keeps_the_groups_of_the_previous_one(place: Place) -> None:
    one = place.put(A, content(1000, 1))
    place.push(one, "--group", "boot", "--group", "sdxl", "--priority", "10")
    place.put(A, content(2000, 2))
    place.push(one)
    file = place.manifest()[A]
    assert (file.size, said_of(file)) == (2000, (("boot", "sdxl"), 10))


def test_push_options_change_only_what_they_name(place: Place) -> None:
    one = place.put(A, content(1000, 1))
    place.push(one, "--group", "boot", "--priority", "10")
    place.push(one, "--group", "background")
    assert said_of(place.manifest()[A]) == (("background",), 10)
    place.push(one, "--priority", "0")
    assert said_of(place.manifest()[A]) == (("background",), 0)
    place.push(one, "--no-group")
    assert said_of(place.manifest()[A]) == ((), 0)


def test_push_of_the_folder_keeps_remote_sources(place: Place) -> None:
    body = content(1000, 1)
    place.put(A, body)
    source = FromHub("lab/sdxl", "sdxl.safetensors")
    there = ModelFile(A, len(body), hashlib.sha256(body).hexdigest(), groups=("boot",), source=source)
    place.update(lambda before: with_entries(before, [there]))
    code, said = place.run("push", str(place.folder))
    assert (code, said.splitlines()[0]) == (0, f"{A}: stays at its source; use --upload to copy it to the bucket")
    assert (place.manifest()[A].source, place.manifest()[A].groups) == (source, ("boot",))
    place.push(str(place.folder), "--upload")
    assert isinstance(place.manifest()[A].source, FromBucket)
    assert place.manifest()[A].groups == ("boot",)
    assert pull(settings(place.folder.parent / "worker", place.bucket)).errors == []


def test_version_that_differs_from_the_hub_is_uploaded(place: Place) -> None:
    there = ModelFile(A, 3, hashlib.sha256(b"hub").hexdigest(), source=FromHub("lab/sdxl", "sdxl.safetensors"))
    place.update(lambda before: with_entries(before, [there]))
    place.push(place.put(A, b"own"))
    assert isinstance(place.manifest()[A].source, FromBucket)


def test_failed_push_leaves_a_correct_manifest(place: Place, tmp_path: Path) -> None:
    one, other = place.put(A, content(1000, 1)), place.put(B, content(1000, 2))
    place.push(one, other)
    before = place.manifest()
    one, new = place.put(A, content(1000, 3)), place.put(C, content(1000, 4))
    code, said = place.run("push", one, new, str(place.folder / "loras/none.safetensors"), other)
    assert (code, "disk_failed" in said) == (1, True)
    after = place.manifest()
    assert after[A].sha256 != before[A].sha256
    assert after[B] == before[B]
    assert set(after) == {A, B, C}
    assert pull(settings(tmp_path, place.bucket)).errors == []


def test_push_that_fails_at_first_writes_nothing(place: Place) -> None:
    code, _ = place.run("push", str(place.folder / "loras/none.safetensors"))
    assert code == 1
    assert place.run("list")[1].startswith("manifest_missing")


def test_manifest_is_updated_right_after_a_replaced_object(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.push(*(place.put(path, content(1000, number)) for number, path in enumerate((A, B, C))))
    for number, path in enumerate((A, B, C)):
        place.put(path, content(1000, 10 + number))
    real, moments = Pusher.upload, iter(range(3))

    def looked(pusher: Pusher, source: Path, file: ModelFile) -> tuple[ModelFile, bool]:
        # A worker that starts now can download every file of the manifest.
        assert pull(settings(tmp_path / str(next(moments)), place.bucket)).errors == []
        return real(pusher, source, file)

    monkeypatch.setattr(Pusher, "upload", looked)
    place.push(str(place.folder))
    assert next(moments, None) is None


def test_push_of_many_new_files_writes_one_manifest(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = BucketClient.replace

    def noted(store: BucketClient, key: str, body: bytes, content_type: str, known_etag: str | None) -> bool:
        written.append(key)
        return real(store, key, body, content_type, known_etag)

    for number in range(5):
        place.put(f"loras/{number}.safetensors", content(100, number))
    monkeypatch.setattr(BucketClient, "replace", noted)
    place.push(str(place.folder))
    assert written == ["manifest.json"]


@pytest.mark.parametrize(
    "argv",
    [
        ("--url", "https://[::1/x", "--size", "3"),
        ("--url", "http://cdn.example/x", "--size", "3"),
        ("--url", "https://cdn.example/x", "--size", "-3"),
        ("--url", "https://cdn.example/x", "--size", str(2**70)),
        ("--url", "https://cdn.example/x", "--size", "3", "--group", ""),
    ],
)
def test_push_refuses_a_manifest_that_workers_would_reject(place: Place, argv: tuple[str, ...]) -> None:
    code, said = place.run("push", *argv, "--sha256", "0" * 64, "--to", A)
    assert (code, said.splitlines()[-1].partition(":")[0]) == (2, "bad_setting")
    assert place.run("list")[1].startswith("manifest_missing")


def test_push_of_an_empty_folder_is_refused(place: Place) -> None:
    place.put("custom_nodes/pack/x.json", b"{}")
    place.put("loose.safetensors", b"x")
    code, said = place.run("push", str(place.folder))
    assert (code, said.partition(":")[0]) == (2, "bad_setting")
    assert place.run("list")[1].startswith("manifest_missing")
    assert place.run("push", str(place.folder / "custom_nodes/pack/x.json"), "--to", "custom_nodes/x.json")[0] == 2


def test_job_between_object_and_manifest_gets_the_new_version(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.push(place.put(A, content(1000, 1)), place.put(B, content(1000, 2)))
    uploaded, may_go_on = threading.Event(), threading.Event()
    real = Pusher.update_manifest

    def held_back(pusher: Pusher, change: Callable[[Manifest], Manifest]) -> Manifest:
        uploaded.set()
        assert may_go_on.wait(10)
        return real(pusher, change)

    async def job() -> bytes:
        workflow: dict[str, JsonObject] = {"1": {"class_type": "X", "inputs": {"ckpt_name": "sdxl.safetensors"}}}
        models = Models(settings(tmp_path, place.bucket), silent(), pause=pushed)
        await models.start()
        try:
            async with models.needed_by(workflow):
                return (tmp_path / "models" / A).read_bytes()
        finally:
            await models.close()

    async def pushed(_: float) -> None:
        # The read of the version in the manifest has failed.
        may_go_on.set()
        await asyncio.to_thread(pushing.join)

    monkeypatch.setattr(Pusher, "update_manifest", held_back)
    pushing = threading.Thread(target=place.push, args=(place.put(A, content(1000, 3)), place.put(B, content(1000, 4))))
    pushing.start()
    assert uploaded.wait(10)
    assert asyncio.run(job()) == content(1000, 3)
    assert may_go_on.is_set()
