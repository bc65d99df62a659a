"""Generated manifests and environments: each gives one error and a working worker, or valid requests. The cases are the
same in each run (conftest.py)."""

import asyncio
import io
import json
import socket
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from models.samples import QUICK
from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.log import Log
from worker_gpu.models.download.remote_file import RemoteFile
from worker_gpu.models.download.transport import TransientError, Transport
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import Manifest
from worker_gpu.models.service import Models
from worker_gpu.models.settings import Bucket, Credentials, ModelSettings, TransferTimeouts, read_model_settings

ONE_TRY = TransferTimeouts(attempts=1, read_timeout_s=QUICK.read_timeout_s)
BUCKET = Bucket("https://account.r2.example", "models", Credentials("id", "secret"))


@pytest.fixture(autouse=True, scope="module")
def offline() -> Generator[None]:
    """Direct all requests to a proxy that does not listen, which both obstore and the standard library use."""
    with pytest.MonkeyPatch.context() as patched, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patched.setenv(name, f"http://127.0.0.1:{unused.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            patched.delenv(name, raising=False)
        yield


NASTY = [
    *("", " ", "\n", "\r\nX: y", "\x00", "\x7f", "…", "\ud800", "é", "例え", "/", "..", ".", "\\", "a" * 300),
    *("https://[::1/x", "https://h:abc", "https://h:99999", "https://a..b", "https://h/\ud800", "http://h", "//h"),
    *("https://u:p@h/x", "https://h?x#y", "https://h/%zz", "custom_nodes/x.json", "a/../b.safetensors", "a/b"),
    *("0" * 64, "a/b.safetensors", "checkpoints/x.safetensors", "lab/flux", "main", "boot", "r2", "hf", "url"),
]
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(max_size=30), st.text("ab/.:@[]?#%\\ \n…", max_size=20))
NUMBERS = st.one_of(st.integers(), st.sampled_from([0, 1, 1024, 2**31, 2**53, 2**63, 2**64, 2**70, 10**4000]))
ANYTHING: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
FIELDS: dict[str, Json] = {
    "path": "checkpoints/x.safetensors",
    "size": 3000,
    "sha256": "0" * 64,
    "chunk_size": 1024,
    "chunks": [],
    "groups": ["boot"],
    "priority": 0,
    "allow_unsafe": False,
}
SOURCES: list[dict[str, Json]] = [
    {"kind": "r2", "etag": "tag"},
    {"kind": "hf", "repo": "lab/flux", "file": "x.safetensors", "revision": "main"},
    {"kind": "url", "url": "https://cdn.example/x"},
]


@st.composite
def entries(draw: st.DrawFn) -> JsonObject:
    """An entry with one to three arbitrary fields, of itself or of its source."""
    source = dict(draw(st.sampled_from(SOURCES)))
    entry: dict[str, Json] = {**FIELDS, "source": source}
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from([entry, source]))
        where[draw(st.sampled_from(sorted(where)))] = draw(st.one_of(TEXTS, ANYTHING))
    return entry


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    whole: Json = {"version": 1, "files": list[Json](draw(st.lists(entries(), min_size=1, max_size=2)))}
    body = json.dumps(draw(st.one_of(st.just(whole), ANYTHING))).encode()
    # A wrong byte, or a missing end.
    at = draw(st.integers(0, max(0, len(body) - 1)))
    return draw(st.one_of(st.just(body), st.just(body[:at]), st.just(body[:at] + b"\xff" + body[at + 1 :])))


def sendable(manifest: Manifest, settings: ModelSettings) -> None:
    """Every entry gives a valid request, and the manifest round-trips."""
    assert Manifest.parse(manifest.to_bytes()) == manifest
    transport = Transport(QUICK.check_interval_s)
    for file in manifest.files.values():
        first, length = file.chunk_range(max(0, file.chunk_count - 1))
        with pytest.raises(TransientError):
            RemoteFile(file, settings).open_range(transport, first, max(1, length), lambda: None)
    transport.close()


def start(settings: ModelSettings) -> str:
    """The log of a worker that starts with these settings."""
    said = io.StringIO()

    async def started() -> None:
        models = Models(settings, Log(said, "json"))
        await models.start()
        json.dumps(models.health())
        await models.close()

    asyncio.run(started())
    said.getvalue().encode()
    return said.getvalue()


@cases(max_examples=600)
@given(manifests())
def test_generated_manifest_is_refused_or_usable(body: bytes) -> None:
    try:
        manifest = Manifest.parse(body)
    except ModelError as error:
        assert error.code == "manifest_invalid"
        assert len(error.message.encode()) < 4000
        return
    sendable(manifest, ModelSettings(Path("/models"), BUCKET))


@cases(max_examples=100)
@given(manifests())
def test_worker_starts_with_any_manifest(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "manifest.json"
        file.write_bytes(body)
        start(ModelSettings(Path(folder) / "models", manifest=file, timeouts=ONE_TRY))


WHOLE = {
    "MODELS_BUCKET": "models",
    "MODELS_ENDPOINT_URL": "https://account.r2.example",
    "MODELS_ACCESS_KEY_ID": "id",
    "MODELS_SECRET_ACCESS_KEY": "the-secret",
    "MODELS_REGION": "auto",
    "MODELS_PREFIX": "team",
    "MODELS_LANES": "8",
    "MODELS_MIN_FREE_MB": "0",
    "MODELS_VOLUME_WRITE": "0",
    "HF_TOKEN": "hf_x",
    "HF_ENDPOINT": "https://hub.example",
}
# An environment cannot contain a zero byte. Bytes that are not UTF-8 appear as surrogates.
VALUES = TEXTS.filter(lambda text: "\0" not in text)


@cases(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(WHOLE)), VALUES, min_size=1, max_size=3), st.integers(0, 9))
def test_generated_setting_is_refused_by_name_or_usable(changed: dict[str, str], padded: int) -> None:
    env = {**WHOLE, **changed, "MODELS_VOLUME": ""}
    env["MODELS_ACCESS_KEY_ID"] += "\n" if padded == 0 else ""
    with tempfile.TemporaryDirectory() as folder:
        env["MODELS_DIR"] = folder
        try:
            settings = read_model_settings(env, 2)
        except ModelError as error:
            assert error.code == "bad_setting"
            assert any(name in error.message for name in WHOLE)
            error.message.encode()
            return
        said = start(ModelSettings(settings.folder, settings.bucket, timeouts=ONE_TRY))
        assert (settings.bucket is None) == (said == "")
        assert settings.bucket is None or "store_unreachable" in said
