"""R2's own S3 endpoint behind a line that cuts, alters and stalls, and workers killed while they read from it."""

import random
import signal
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from models.local_r2 import r2
from models.partial_files import safe_chunks
from models.pulling import pull
from models.relay import Harm, Relay, relay_to
from models.samples import CHUNK, QUICK, content, manifest_bytes, model, settings, with_timeouts
from models.test_kill import Puller
from worker_gpu.models.download.bucket import BucketClient
from worker_gpu.models.manifest.manifest import FromBucket, ModelFile
from worker_gpu.models.settings import Bucket

WHOLE = "vae/d.safetensors"
"""A file of one chunk, which reaches every byte that a test harms on whichever connection it comes."""
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
    """R2 with models in it, each entry with the tag that R2 gave."""
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
@pytest.mark.parametrize("at", [0, 5, 400, 1000, CHUNK // 2, CHUNK + 100, CHUNK * 2])
def test_a_harm_to_every_first_connection_costs_only_a_second_read(
    bucket: Bucket, relay: Relay, tmp_path: Path, kind: str, at: int
) -> None:
    harm = Harm("cut" if kind == "cut" else "flip" if kind == "flip" else "stall", at)
    # The first connection of all reads the manifest, which its own test is about. One that is given up may be followed
    # by another before a byte of it was harmed, so the number of a connection does not say whether it counts.
    relay.plan = lambda number: harm if number >= 1 and relay.harmed < CONNECTIONS else None
    chosen = settings(tmp_path, replace(bucket, endpoint=relay.endpoint), CONNECTIONS)
    # A slow machine is not a stall: where nothing stalls, the timeout is long.
    read_timeout_s = STALL_S if kind == "stall" else QUICK.read_timeout_s
    pulled = pull(
        with_timeouts(chosen, replace(QUICK, read_timeout_s=read_timeout_s, attempts=20, corrupt_attempts=20))
    )
    check_visible(tmp_path)
    # A bit of the head may turn an answer into a refusal that is final; then the file is not there, and the next
    # pull brings it.
    if kind != "flip" or at >= 1000:
        assert pulled.errors == []
    relay.plan = lambda _: None
    assert pull(chosen).errors == []
    assert everything_is_here(tmp_path)
    assert relay.harmed > 0


def test_a_line_that_harms_at_random_never_shows_a_wrong_file(bucket: Bucket, relay: Relay, tmp_path: Path) -> None:
    chance = random.Random(7)
    kinds = ("cut", "flip", "stall", "cut")
    plans = [Harm(kinds[n % 4], chance.randrange(CHUNK * 3)) if chance.random() < 0.6 else None for n in range(400)]
    first = iter(plans)
    relay.plan = lambda _: next(first, None)
    chosen = settings(tmp_path, replace(bucket, endpoint=relay.endpoint), CONNECTIONS)
    hasty = with_timeouts(chosen, replace(QUICK, read_timeout_s=STALL_S))
    for path in ["none", *list(BODIES) * 4]:
        # Gone again: what is here is not read a second time.
        (tmp_path / "models" / path).unlink(missing_ok=True)
        pull(replace(hasty, manifest=_manifest_of(bucket, tmp_path)))
        check_visible(tmp_path)
    assert relay.harmed > 10
    relay.plan = lambda _: None
    assert pull(chosen).errors == []
    assert everything_is_here(tmp_path)


def test_fifty_kills_while_r2_sends(relay: Relay, tmp_path: Path) -> None:
    chance, kills, finished = random.Random(52), 0, 0
    root = f"{urlsplit(relay.endpoint).path}/models"
    files = {f"{root}/{path}": entry(path, body) for path, body in BODIES.items()}
    puller = Puller(tmp_path, relay.endpoint, CONNECTIONS)
    try:
        while kills < 50:
            before = safe_chunks(tmp_path / "models", files.values())
            status = puller.run(step=chance.randrange(50), share=chance.random())
            check_visible(tmp_path)
            passed = relay.take_asked()
            asked = {(files[path].path, first // CHUNK) for path, first in passed if path in files}
            after = safe_chunks(tmp_path / "models", files.values())
            assert not asked & before, "read again what was safe"
            assert len(asked - after) <= CONNECTIONS, "lost more than what was in flight"
            if status == -signal.SIGKILL:
                kills += 1
                continue
            assert status == 0
            assert everything_is_here(tmp_path)
            assert asked | before == after
            finished += 1
            for path in BODIES:
                (tmp_path / "models" / path).unlink()
        assert finished > 0
        assert puller.run() == 0
        assert everything_is_here(tmp_path)
        check_visible(tmp_path)
    finally:
        puller.close()


def _manifest_of(bucket: Bucket, folder: Path) -> Path:
    """The bucket's manifest on disk: its own reading is not what the line is harmed for."""
    kept = folder / "manifest.json"
    if not kept.exists():
        store = BucketClient(bucket, QUICK)
        found = store.get("manifest.json")
        assert found is not None
        kept.write_bytes(found.body)
    return kept
