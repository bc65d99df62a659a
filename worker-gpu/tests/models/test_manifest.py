"""Parsing manifest.json: one error that names the entry and the field, or a manifest of usable entries."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import MAX_FILE_BYTES, Manifest, ModelFile

PATH = "loras/x.safetensors"


def entry(**changed: Json) -> JsonObject:
    whole: JsonObject = {
        "path": PATH,
        "size": 3,
        "sha256": "0" * 64,
        "chunk_size": 1024,
        "chunks": [],
        "source": {"kind": "r2"},
    }
    return {**whole, **changed}


def of(*entries: JsonObject) -> bytes:
    return json.dumps({"version": 1, "files": list(entries)}).encode()


def url(text: str) -> JsonObject:
    return {"kind": "url", "url": text}


def test_manifest_of_an_earlier_version_is_accepted() -> None:
    sources: list[JsonObject] = [
        {"kind": "r2", "etag": "d41d8cd98f00b204e9800998ecf8427e-3"},
        {"kind": "hf", "repo": "lab/flux", "file": "sub/flux.safetensors", "revision": "main"},
        url("https://cdn.example:8443/a b/é.safetensors?token=x#y"),
        url("https://user@cdn.example/x"),
        url("http://[::1]:8080/x"),
        url("http://localhost/x"),
    ]
    for source in sources:
        (file,) = Manifest.parse(of(entry(source=source, groups=["boot", "my own"], priority=-3))).files.values()
        assert file.to_wire()["source"] == source
    whole = entry(chunks=["0" * 64], size=MAX_FILE_BYTES, chunk_size=MAX_FILE_BYTES)
    assert Manifest.parse(of(whole)).files[PATH].chunk_count == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (entry(source=url("https://[::1/x")), "source.url"),
        (entry(source=url("https://host:99999/x")), "source.url"),
        (entry(source=url("https://host:port/x")), "source.url"),
        (entry(source=url("https://a..example/x")), "source.url"),
        (entry(source=url(f"https://{'a' * 64}.example/x")), "source.url"),
        (entry(source=url("https://例え.example/x")), "source.url"),
        (entry(source=url("https://ho st/x")), "source.url"),
        (entry(source=url("https:///x")), "source.url"),
        (entry(source=url("https://host/\ud800")), "source.url"),
        (entry(source=url("http://host/x")), "source.url"),
        (entry(source={"kind": "r2", "etag": "a\r\nX-Header: y"}), "source.etag"),
        (entry(source={"kind": "r2", "etag": "tag…"}), "source.etag"),
        (entry(size=2**70), "size"),
        (entry(size=MAX_FILE_BYTES + 1), "size"),
        (entry(size=MAX_FILE_BYTES, chunk_size=1024), "chunk_size"),
        (entry(groups=["\ud800"]), "groups"),
        (entry(chunks=["1" * 64]), "chunks"),
    ],
)
def test_invalid_entry_is_named_in_the_error(changed: JsonObject, field: str) -> None:
    with pytest.raises(ModelError) as raised:
        Manifest.parse(of(entry(path="loras/fine.safetensors"), changed))
    assert raised.value.code == "manifest_invalid"
    assert f"files[1] ({PATH}): {field}: " in raised.value.message


@pytest.mark.parametrize("folder", ["custom_nodes", "Custom_Nodes", "custom_nodes/pack"])
@pytest.mark.parametrize("allow", [False, True])
def test_path_in_a_code_folder_is_refused(folder: str, allow: bool) -> None:
    with pytest.raises(ModelError, match="ComfyUI runs code in") as raised:
        Manifest.parse(of(entry(path=f"{folder}/x.json", allow_unsafe=allow)))
    assert raised.value.code == "manifest_invalid"


def test_unprintable_path_is_not_quoted() -> None:
    with pytest.raises(ModelError) as raised:
        Manifest.parse(of(entry(path="loras/\ud800.safetensors")))
    assert raised.value.message.startswith("manifest.json: files[0]: path: ")
    with pytest.raises(ModelError) as raised:
        Manifest.parse(of(entry(path="x" * 100_000)))
    assert len(raised.value.message) < 500


@given(size=st.integers(0, 10_000), chunk=st.integers(1024, 5000))
def test_chunk_ranges_cover_a_file_exactly(size: int, chunk: int) -> None:
    file = ModelFile("vae/x.sft", size, "0" * 64, chunk_size=chunk)
    at = 0
    for n in range(file.chunk_count):
        first, length = file.chunk_range(n)
        assert first == at
        assert 0 < length <= chunk
        at += length
    assert at == size
