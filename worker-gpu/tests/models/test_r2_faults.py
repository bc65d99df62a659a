"""Pulls from R2's local S3 endpoint over connections that are cut, altered or stalled."""

import random
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from models.local_r2 import r2
from models.pulling import pull
from models.relay import Harm, Relay, relay_to
from models.samples import CHUNK, QUICK, content, manifest_bytes, model, settings, with_timeouts
from worker_gpu.models.download.bucket import BucketClient
from worker_gpu.models.manifest.manifest import FromBucket, ModelFile
from worker_gpu.models.settings import Bucket

WHOLE = "vae/d.safetensors"
"""A file of one large chunk, whose connection reaches every harmed byte."""
SIZES = {
    "checkpoints/a.safetensors": CHUNK * 9 + 5,
    "loras/b.safetensors": CHUNK * 4,
    "loras/c.safetensors": 100,
    WHOLE: CHUNK * 4,
}
BODIES = {path: content(size, seed) for seed, (path, size) in enumerate(SIZES.items())}
CONNECTIONS = 3
STALL_S = 0.1


@pytest.fixture(scope="module")
def bucket() -> Generator[Bucket]:
    """A bucket of R2 with models, whose entries have R2's ETags."""
    with r2() as made:
        store = BucketClient(made, QUICK)
        files: list[ModelFile] = []
        for path, body in BODIES.items():
            file = entry(path, body)
            etag = store.put(path, body, "text/plain")
            files.append(replace(file, source=FromBucket(etag)))
        manifest = manifest_bytes(*files)
        store.put("manifest.json", manifest, "application/json")
        yield made


@pytest.fixture
def relay(bucket: Bucket) -> Generator[Relay]:
    with relay_to(bucket.endpoint) as running:
        yield running


def entry(path: str, body: bytes) -> ModelFile:
    return model(path, body, chunk_bytes=len(body) if path == WHOLE else CHUNK)


def check_visible(folder: Path) -> None:
    for path, body in BODIES.items():
        found = folder / "models" / path
        assert not found.exists() or found.read_bytes() == body, f"{path} is visible and wrong"


def everything_is_here(folder: Path) -> bool:
    return all((folder / "models" / path).exists() for path in BODIES)


@pytest.mark.parametrize("kind", ["cut", "flip", "stall"])
@pytest.mark.parametrize("at", [5, 1000, CHUNK * 2])
def test_harmed_connection_is_retried(bucket: Bucket, relay: Relay, tmp_path: Path, kind: str, at: int) -> None:
    harm = Harm("cut" if kind == "cut" else "flip" if kind == "flip" else "stall", at)
    # Connection 0 reads the manifest. The others are harmed until enough of them were, since a connection may end
    # before it reaches the harmed byte.
    relay.plan = lambda number: harm if number >= 1 and relay.harmed < CONNECTIONS else None
    chosen = settings(tmp_path, replace(bucket, endpoint=relay.endpoint), CONNECTIONS)
    # Only stalls need a short timeout, which could also expire on a slow machine.
    read_timeout_s = STALL_S if kind == "stall" else QUICK.read_timeout_s
    pulled = pull(
        with_timeouts(chosen, replace(QUICK, read_timeout_s=read_timeout_s, attempts=20, corrupt_attempts=20))
    )
    check_visible(tmp_path)
    # A flipped bit of a header can make a response a permanent error. The next pull then downloads the file.
    if kind != "flip" or at >= 1000:
        assert pulled.errors == []
    relay.plan = lambda _: None
    assert pull(chosen).errors == []
    assert everything_is_here(tmp_path)
    assert relay.harmed > 0


def test_random_harm_never_publishes_a_wrong_file(bucket: Bucket, relay: Relay, tmp_path: Path) -> None:
    chance = random.Random(7)
    kinds = ("cut", "flip", "stall", "cut")
    plans = [Harm(kinds[n % 4], chance.randrange(CHUNK * 3)) if chance.random() < 0.6 else None for n in range(400)]
    first = iter(plans)
    relay.plan = lambda _: next(first, None)
    chosen = settings(tmp_path, replace(bucket, endpoint=relay.endpoint), CONNECTIONS)
    hasty = with_timeouts(chosen, replace(QUICK, read_timeout_s=STALL_S))
    for path in ["none", *list(BODIES) * 4]:
        # Deleted, since a pull does not read a present file again.
        (tmp_path / "models" / path).unlink(missing_ok=True)
        pull(replace(hasty, manifest=_manifest_of(bucket, tmp_path)))
        check_visible(tmp_path)
    assert relay.harmed > 10
    relay.plan = lambda _: None
    assert pull(chosen).errors == []
    assert everything_is_here(tmp_path)


def _manifest_of(bucket: Bucket, folder: Path) -> Path:
    """The bucket's manifest as a local file, so that no fault hits its download."""
    kept = folder / "manifest.json"
    if not kept.exists():
        store = BucketClient(bucket, QUICK)
        found = store.get("manifest.json")
        assert found is not None
        kept.write_bytes(found.body)
    return kept
