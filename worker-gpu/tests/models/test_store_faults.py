"""Faults of a store: a file is downloaded correctly or does not appear, and the error names the reason."""

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import (
    Asked,
    Cut,
    Fault,
    FaultyStore,
    Flipped,
    Headers,
    Shifted,
    Silent,
    Status,
    Whole,
)
from models.pulling import finish, pull
from models.samples import CHUNK, QUICK, content, manifest_bytes, model, settings, silent, with_timeouts
from worker_gpu.models.disk.local_tree import LocalTree
from worker_gpu.models.download.priority import Urgency
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromBucket, FromHub, ModelFile
from worker_gpu.models.sync import ModelSync

BIG = "checkpoints/big.safetensors"
BODY = content(CHUNK * 7 + 123)


@pytest.fixture
def big(store: FaultyStore) -> ModelFile:
    """A model of eight chunks, of which the last is short."""
    return put(store, model(BIG, BODY), BODY)


def put(store: FaultyStore, file: ModelFile, body: bytes) -> ModelFile:
    store.objects[file.path] = body
    store.objects["manifest.json"] = manifest_bytes(file)
    return file


def nothing_visible(folder: Path) -> bool:
    """Whether the file has not appeared in the models folder."""
    return not (folder / "models" / BIG).exists()


def chunks_asked(store: FaultyStore) -> list[int]:
    return sorted(asked.first // CHUNK for asked in store.of(BIG))


@pytest.mark.usefixtures("big")
def test_pull_downloads_a_model_once(store: FaultyStore, tmp_path: Path) -> None:
    assert pull(settings(tmp_path, store.bucket)).fetched == [BIG]
    assert (tmp_path / "models" / BIG).read_bytes() == BODY
    assert chunks_asked(store) == list(range(8))
    assert pull(settings(tmp_path, store.bucket)).fetched == []
    assert chunks_asked(store) == list(range(8))


ONCE: dict[str, Fault] = {
    "cut before the first byte": Cut(0),
    "cut in the middle": Cut(CHUNK // 2 + 1),
    "cut one byte short": Cut(CHUNK - 1),
    "500": Status(500),
    "503 with a long body": Status(503, b"x" * 300_000),
    "429": Status(429),
    "another range, stated in Content-Range": Shifted(7, honest=True),
    "another range, not stated in Content-Range": Shifted(7, honest=False),
    "no Content-Range": Headers({"Content-Range": None}),
    "Content-Range in another unit": Headers({"Content-Range": "items 0-1/2"}),
    "more bytes than requested": Headers({"Content-Length": str(CHUNK + 1)}),
    "fewer bytes than requested": Headers({"Content-Length": str(CHUNK - 1)}),
    "compressed": Headers({"Content-Encoding": "gzip"}),
    "whole object instead of a range": Whole(),
    "a flipped bit": Flipped(4711),
}


@pytest.mark.parametrize("fault", ONCE.values(), ids=ONCE.keys())
@pytest.mark.usefixtures("big")
def test_transient_fault_is_retried(store: FaultyStore, tmp_path: Path, fault: Fault) -> None:
    def every_chunk_once(asked: Asked) -> Fault | None:
        seen = sum(one.first == asked.first for one in store.of(BIG))
        return fault if asked.key == BIG and seen == 1 else None

    store.script = every_chunk_once
    # A body that is shorter than its Content-Length looks like a stall.
    quick = with_timeouts(settings(tmp_path, store.bucket), replace(QUICK, read_timeout_s=0.5))
    assert pull(quick).errors == []
    assert (tmp_path / "models" / BIG).read_bytes() == BODY
    # The last chunk is too short for some of the faults.
    assert len(store.of(BIG)) >= 15


ALWAYS: dict[str, tuple[Fault, str]] = {
    "cut": (Cut(100), "store_unreachable"),
    "500": (Status(500), "store_unreachable"),
    "wrong range": (Shifted(7, honest=True), "store_unreachable"),
    "wrong bytes": (Flipped(0), "model_corrupt"),
    "denied": (Status(403, b"<Error><Code>AccessDenied</Code></Error>"), "store_denied"),
    "missing": (Status(404), "model_missing"),
    "another size": (Headers({"Content-Range": f"bytes 0-{CHUNK - 1}/999"}), "model_replaced"),
    "range beyond the end": (Status(416), "model_replaced"),
}


@pytest.mark.parametrize(("fault", "code"), ALWAYS.values(), ids=ALWAYS.keys())
@pytest.mark.usefixtures("big")
def test_permanent_fault_is_one_error_and_leaves_no_file(
    store: FaultyStore, tmp_path: Path, fault: Fault, code: str
) -> None:
    store.script = lambda asked: fault if asked.key == BIG else None
    pulled = pull(settings(tmp_path, store.bucket))
    assert pulled.codes == [code]
    assert BIG in pulled.errors[0].message or code == "store_denied"
    assert "local-secret" not in str(pulled.errors[0])
    assert nothing_visible(tmp_path)


def test_failed_model_does_not_fail_the_others(store: FaultyStore, tmp_path: Path) -> None:
    bodies = {f"loras/{n}.safetensors": content(CHUNK * 2 + n, n) for n in range(6)}
    store.objects.update(bodies)
    store.objects["manifest.json"] = manifest_bytes(*(model(path, body) for path, body in bodies.items()))
    store.script = lambda asked: Status(404) if asked.key == "loras/3.safetensors" else None
    pulled = pull(settings(tmp_path, store.bucket))
    assert [error.path for error in pulled.errors] == ["loras/3.safetensors"]
    for path, body in bodies.items():
        found = tmp_path / "models" / path
        assert found.read_bytes() == body if path != "loras/3.safetensors" else not found.exists()


@pytest.mark.usefixtures("big")
def test_stalled_connection_is_replaced(store: FaultyStore, tmp_path: Path) -> None:
    store.script = lambda asked: Silent(CHUNK // 3) if asked.key == BIG and asked.number < 3 else None
    quick = with_timeouts(settings(tmp_path, store.bucket), replace(QUICK, read_timeout_s=0.1))
    assert pull(quick).errors == []
    assert (tmp_path / "models" / BIG).read_bytes() == BODY


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize("connections", [1, 4])
def test_object_replaced_during_the_download_fails_it(store: FaultyStore, tmp_path: Path, connections: int) -> None:
    def replace_it(asked: Asked) -> Fault | None:
        if asked.key == BIG and asked.number == 3:
            store.objects[BIG] = content(len(BODY), 99)
        return None

    store.script = replace_it
    pulled = pull(settings(tmp_path, store.bucket, connections))
    assert pulled.codes == ["model_replaced"]
    # A connection sends no If-Match only until it has an ETag.
    assert sum("if-match" not in asked.headers for asked in store.of(BIG)) <= connections
    assert nothing_visible(tmp_path)


def test_object_replaced_since_the_manifest_is_not_read(store: FaultyStore, tmp_path: Path) -> None:
    put(store, replace(model(BIG, BODY), source=FromBucket("an-older-tag")), BODY)
    assert pull(settings(tmp_path, store.bucket)).codes == ["model_replaced"]
    assert nothing_visible(tmp_path)


@pytest.mark.usefixtures("big")
def test_changed_etag_fails_the_download_if_the_store_ignores_if_match(store: FaultyStore, tmp_path: Path) -> None:
    store.script = lambda asked: Headers({"ETag": f'"{asked.number // 2}"'}) if asked.key == BIG else None
    assert pull(settings(tmp_path, store.bucket, connections=1)).codes == ["model_replaced"]


def test_file_without_chunk_hashes_is_verified_by_its_hash(store: FaultyStore, tmp_path: Path) -> None:
    put(store, model(BIG, BODY, chunked=False), BODY)
    assert pull(settings(tmp_path / "right", store.bucket)).errors == []
    store.script = lambda asked: Flipped(1) if asked.key == BIG and asked.first == CHUNK * 5 else None
    assert pull(settings(tmp_path / "wrong", store.bucket)).codes == ["model_corrupt"]
    assert nothing_visible(tmp_path / "wrong")


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
@pytest.mark.parametrize("chunked", [True, False])
def test_file_of_any_size_is_downloaded(store: FaultyStore, tmp_path: Path, size: int, chunked: bool) -> None:
    body = content(size, size)
    put(store, model(BIG, body, chunked=chunked), body)
    assert pull(settings(tmp_path, store.bucket)).errors == []
    assert (tmp_path / "models" / BIG).read_bytes() == body


@pytest.mark.usefixtures("big")
def test_full_disk_during_a_download_deletes_the_partial_file(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.pwrite, [CHUNK * 3]

    def full(fd: int, data: memoryview, at: int) -> int:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, at)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert pull(settings(tmp_path, store.bucket)).codes == ["disk_full"]
    assert list((tmp_path / "models" / ".sync" / "parts").iterdir()) == []
    assert pull(settings(tmp_path, store.bucket)).errors == []


def _one_and_a_half(_: LocalTree) -> int:
    return len(BODY) * 3 // 2


def test_space_reserved_for_one_download_is_not_given_to_another(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = model("loras/first.safetensors", BODY), model("loras/second.safetensors", content(len(BODY), 2))
    store.objects.update({first.path: BODY, second.path: content(len(BODY), 2)})
    store.objects["manifest.json"] = manifest_bytes(first, second)
    begun = threading.Event()

    def never(asked: Asked) -> Fault | None:
        if asked.key != first.path:
            return None
        begun.set()
        return Silent(0)

    store.script = never
    monkeypatch.setattr(LocalTree, "free_bytes", _one_and_a_half)
    # More connections than the first download has chunks.
    sync = ModelSync(settings(tmp_path, store.bucket, connections=12), silent())
    sync.open()
    try:
        slow = sync.request([first], Urgency.JOB)
        assert begun.wait(5)
        # Nothing of the first file is written yet, so the free space would suffice for both.
        assert finish(sync, [second]).codes == ["disk_full"]
        assert not slow.futures()[0].done()
    finally:
        sync.close()


MANIFESTS: dict[str, tuple[bytes | None, str]] = {
    "none": (None, "manifest_missing"),
    "empty": (b"", "manifest_invalid"),
    "not JSON": (b"{", "manifest_invalid"),
    "deeply nested": (b"[" * 100_000, "manifest_invalid"),
    "another version": (b'{"version": 2, "files": []}', "manifest_invalid"),
    "path out of the folder": (manifest_bytes(model("../x.safetensors", b"x")), "manifest_invalid"),
}


@pytest.mark.parametrize(("body", "code"), MANIFESTS.values(), ids=MANIFESTS.keys())
def test_bad_manifest_is_one_error(store: FaultyStore, tmp_path: Path, body: bytes | None, code: str) -> None:
    if body is not None:
        store.objects["manifest.json"] = body
    with pytest.raises(ModelError) as raised:
        pull(settings(tmp_path, store.bucket))
    assert raised.value.code == code
    assert "manifest.json" in raised.value.message


@pytest.mark.parametrize("token", ["key…", "key\r\nX: y"])
def test_token_that_is_invalid_in_a_header_is_not_quoted(store: FaultyStore, tmp_path: Path, token: str) -> None:
    file = model(BIG, BODY, source=FromHub("lab/flux", "x.safetensors"), chunked=False)
    store.objects["manifest.json"] = manifest_bytes(file)
    (error,) = pull(replace(settings(tmp_path, store.bucket), hub=store.url, hub_token=token)).errors
    assert error.code == "bad_setting"
    assert "key" not in error.message.replace("URLs and keys", "").replace("URL or key", "")
    assert [asked.key for asked in store.asked] == ["manifest.json"]
