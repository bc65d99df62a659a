"""The commands with R2's local S3 endpoint (Miniflare), which verifies signatures and checksums."""

import hashlib
import io
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from models.local_r2 import bucket_env, r2
from models.pulling import pull
from models.samples import QUICK, content, settings
from worker_gpu.models.cli.commands import main
from worker_gpu.models.cli.push import Pusher, describe
from worker_gpu.models.download.bucket import BucketClient
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromBucket, Manifest
from worker_gpu.models.manifest.manifest_entries import PushEntry, with_entries
from worker_gpu.models.settings import Bucket, Credentials

PART = 5 * 1024 * 1024
"""R2's smallest part."""
AWKWARD = "loras/a b+c&d=é~'(1)$@#%20.safetensors"


@pytest.fixture(scope="module")
def endpoint() -> Generator[Bucket]:
    with r2() as bucket:
        yield bucket


@pytest.fixture
def bucket(endpoint: Bucket, request: pytest.FixtureRequest) -> Bucket:
    """A bucket with a prefix of its own for the test."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return replace(endpoint, prefix=f"{name}/")


def run(argv: list[str], bucket: Bucket, folder: Path) -> tuple[int, str]:
    out = io.StringIO()
    code = main(argv, {**bucket_env(bucket, folder), "MODELS_MIN_FREE_MB": "0"}, out)
    return code, out.getvalue()


def test_pushed_model_is_listed_pulled_and_verified(bucket: Bucket, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    bodies = {"checkpoints/x.safetensors": content(3_000_000, 1), AWKWARD: content(10, 2), "vae/sub/v.sft": b""}
    for path, body in bodies.items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_bytes(body)
    (here / "checkpoints/evil.ckpt").write_bytes(b"pickle")
    code, said = run(["push", str(here), "--group", "boot", "--priority", "3"], bucket, here)
    assert (code, said.splitlines()[-1]) == (0, "manifest.json: 3 files")
    code, said = run(["push", str(here), "--group", "boot", "--priority", "3"], bucket, here)
    assert said.count("already there") == 3
    assert run(["list"], bucket, there)[1].splitlines()[-1] == f"3 files, {3_000_010} bytes"
    assert run(["verify"], bucket, there)[0] == 1
    assert run(["pull"], bucket, there) == (0, "3 of 3 files present, 0 of them before\n")
    assert {path: (there / path).read_bytes() for path in bodies} == bodies
    assert run(["pull", "--group", "boot"], bucket, there) == (0, "3 of 3 files present, 3 of them before\n")
    assert run(["verify", "--full"], bucket, there) == (0, "3 of 3 files ok\n")
    (there / AWKWARD).write_bytes(b"0123456789")
    assert run(["verify"], bucket, there) == (1, f"{AWKWARD}: unchecked\n2 of 3 files ok\n")
    assert run(["verify", "--full"], bucket, there) == (1, f"{AWKWARD}: corrupt\n2 of 3 files ok\n")
    assert run(["remove", AWKWARD], bucket, there)[0] == 0
    assert run(["verify"], bucket, there) == (0, "2 of 2 files ok\n")


def test_multipart_upload_verifies_every_part(bucket: Bucket, tmp_path: Path) -> None:
    body = content(2 * PART + 77, 3)
    source = tmp_path / "m.safetensors"
    source.write_bytes(body)
    pusher = Pusher(bucket, QUICK, BucketClient)
    file, sent = pusher.upload(source, describe(source, PushEntry("unet/m.safetensors"), PART))
    pusher.update_manifest(lambda before: with_entries(before, [file]))
    assert sent
    assert isinstance(file.source, FromBucket)
    assert file.source.etag is not None
    assert file.source.etag.endswith("-3")
    assert pull(settings(tmp_path, bucket)).errors == []
    assert (tmp_path / "models/unet/m.safetensors").read_bytes() == body


def test_file_changed_during_its_push_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "m.safetensors"
    source.write_bytes(content(2 * PART, 4))
    file = describe(source, PushEntry("unet/m.safetensors"), PART)
    source.write_bytes(content(2 * PART, 5))
    pusher = Pusher(bucket, QUICK, BucketClient)
    with pytest.raises(ModelError) as raised:
        pusher.upload(source, file)
    assert raised.value.code == "model_replaced"
    store = BucketClient(bucket, QUICK)
    assert store.head("unet/m.safetensors") is None


def test_replaced_object_is_detected_by_its_etag(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content(1000, 6))
    assert run(["push", str(tmp_path / "x.safetensors"), "--to", "loras/x.safetensors"], bucket, tmp_path)[0] == 0
    store = BucketClient(bucket, QUICK)
    other = content(1000, 7)
    store.put("loras/x.safetensors", other, "text/plain")
    assert pull(settings(tmp_path, bucket)).codes == ["model_replaced"]


def test_concurrent_pushes_keep_all_entries(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"x")
    one, other = Pusher(bucket, QUICK, BucketClient), Pusher(bucket, QUICK, BucketClient)
    mine = describe(tmp_path / "x.safetensors", PushEntry("loras/mine.safetensors"))
    theirs = describe(tmp_path / "x.safetensors", PushEntry("loras/theirs.safetensors"))
    met = iter([True])

    def change(before: Manifest) -> Manifest:
        if next(met, False):
            # Between the first push's read and its write of the manifest.
            other.update_manifest(lambda then: with_entries(then, [theirs]))
        return with_entries(before, [mine])

    after = one.update_manifest(change)
    assert set(after.files) == {"loras/mine.safetensors", "loras/theirs.safetensors"}


def test_wrong_credentials_are_named_in_the_error(bucket: Bucket, tmp_path: Path) -> None:
    wrong = replace(bucket, credentials=Credentials("local", "not-the-secret"))
    code, said = run(["list"], wrong, tmp_path)
    assert code == 1
    assert said.startswith("store_denied: the models bucket rejects the key")
    assert "not-the-secret" not in said


def test_empty_bucket_error_says_what_to_do(bucket: Bucket, tmp_path: Path) -> None:
    code, said = run(["pull"], bucket, tmp_path)
    assert (code, said) == (
        1,
        "manifest_missing: the bucket models has no manifest.json: run `models push`\n",
    )
