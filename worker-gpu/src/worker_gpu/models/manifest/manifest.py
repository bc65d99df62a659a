"""The manifest: the model files, where to download each from, and the hashes of its bytes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from worker_gpu.json_readers import (
    Json,
    JsonObject,
    ShapeError,
    maybe_text,
    need_count,
    need_list,
    need_object,
    need_text,
)
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.model_path import check_path
from worker_gpu.models.manifest.urls import is_secure, parse_url

MANIFEST_KEY = "manifest.json"
VERSION = 1
CHUNK_BYTES = 64 * 1024 * 1024
"""The unit of reading, verifying and resuming, and the part size of uploads. R2 requires equal parts of at least 5 MiB,
and at most 10,000 of them (reference/gpu-worker.md section 1.3), so a file may have 625 GiB."""
MIN_CHUNK_BYTES = 1024
"""A bound against manifests that are mostly hashes. It is small for the sake of tests."""
MAX_MANIFEST_BYTES = 32 * 1024 * 1024
"""About 400,000 chunk hashes: 25 TB of models."""
MAX_FILE_BYTES = 5 * 1024**4
"""R2's largest object. Every size and offset up to it is valid in system calls."""
MAX_CHUNKS = 100_000
"""Chunks per file: more than the largest file has at `CHUNK_BYTES`. Each needs a mark on disk and a task."""
BOOT_GROUP = "boot"
BACKGROUND_GROUP = "background"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[\w./-]{1,200}")
_ETAG = re.compile(r"[!#-~]{1,200}")
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class FromBucket:
    """An object of the models bucket under the file's path. `etag` is that of the upload's response, without quotes."""

    etag: str | None = None


@dataclass(frozen=True)
class FromHub:
    """A file of a Hugging Face repository."""

    repo: str
    file: str
    revision: str = "main"


@dataclass(frozen=True)
class FromUrl:
    """A file at any other URL."""

    url: str


Source: TypeAlias = FromBucket | FromHub | FromUrl


@dataclass(frozen=True)
class ModelFile:
    """One model file. `path` is `<category>/<file>` below the models folder. `chunks` are the SHA-256 of its chunks of
    `chunk_size` bytes in order; it is empty if only the hash of the whole file is known."""

    path: str
    size: int
    sha256: str
    chunk_size: int = CHUNK_BYTES
    chunks: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    priority: int = 0
    source: Source = FromBucket()
    allow_unsafe: bool = False

    @property
    def chunk_count(self) -> int:
        """The number of chunks; 0 for an empty file."""
        return -(-self.size // self.chunk_size)

    @property
    def category(self) -> str:
        """ComfyUI's category: the first folder of the path."""
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        """The name in a graph: the path below the category."""
        return self.path.partition("/")[2]

    def chunk_range(self, chunk: int) -> tuple[int, int]:
        """The first byte and the length of a chunk."""
        start = chunk * self.chunk_size
        return start, min(self.chunk_size, self.size - start)

    def to_wire(self) -> JsonObject:
        """The entry in manifest.json."""
        wire: JsonObject = {
            "path": self.path,
            "size": self.size,
            "sha256": self.sha256,
            "chunk_size": self.chunk_size,
            "chunks": list(self.chunks),
            "groups": list(self.groups),
            "priority": self.priority,
            "source": _source_to_wire(self.source),
        }
        if self.allow_unsafe:
            wire["allow_unsafe"] = True
        return wire


@dataclass(frozen=True)
class Manifest:
    """All model files, by path."""

    files: Mapping[str, ModelFile]

    @staticmethod
    def of(files: Sequence[ModelFile]) -> "Manifest":
        """A manifest of `files`, sorted by path."""
        return Manifest({file.path: file for file in sorted(files, key=lambda file: file.path)})

    @staticmethod
    def parse(body: bytes) -> "Manifest":
        """Parse `body`. Raises `ModelError` manifest_invalid, which names the entry and the field."""
        if len(body) > MAX_MANIFEST_BYTES:
            raise ModelError("manifest_invalid", f"manifest.json: larger than {MAX_MANIFEST_BYTES} bytes")
        try:
            value: Json = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ModelError("manifest_invalid", f"manifest.json: is not JSON ({error})") from None
        try:
            source = need_object(value, "manifest.json")
            if source.get("version") != VERSION:
                raise ShapeError(f"version: must be {VERSION}")
            entries = need_list(source.get("files"), "files")
        except ShapeError as error:
            raise ModelError("manifest_invalid", f"manifest.json: {error}") from None
        files: dict[str, ModelFile] = {}
        for index, entry in enumerate(entries):
            try:
                file = _parse_file(need_object(entry, "entry"))
            except ShapeError as error:
                named = maybe_text(entry.get("path")) if isinstance(entry, dict) else None
                # The message goes into logs, so an unprintable path is left out.
                shown = named is not None and named.isprintable()
                where = f"files[{index}]" + (f" ({named[:_SHOWN_CHARACTERS]})" if named and shown else "")
                raise ModelError("manifest_invalid", f"manifest.json: {where}: {error}") from None
            if file.path in files:
                raise ModelError("manifest_invalid", f"manifest.json: {file.path} is listed twice", file.path)
            files[file.path] = file
        return Manifest(files)

    def to_bytes(self) -> bytes:
        """The bytes of manifest.json. `parse` returns an equal manifest."""
        wire: JsonObject = {"version": VERSION, "files": [file.to_wire() for file in self.files.values()]}
        return (json.dumps(wire, indent=1, ensure_ascii=False) + "\n").encode()

    def in_group(self, group: str) -> list[ModelFile]:
        """The files of a group."""
        return [file for file in self.files.values() if group in file.groups]


def _parse_file(entry: JsonObject) -> ModelFile:
    allow = entry.get("allow_unsafe", False)
    if not isinstance(allow, bool):
        raise ShapeError("allow_unsafe: must be true or false")
    size = need_count(entry, "size", 0)
    if size > MAX_FILE_BYTES:
        raise ShapeError(f"size: must be at most {MAX_FILE_BYTES}")
    chunk_size = need_count(entry, "chunk_size", MIN_CHUNK_BYTES)
    chunks = tuple(_parse_sha256(item, "chunks") for item in need_list(entry.get("chunks"), "chunks"))
    file = ModelFile(
        path=check_path(need_text(entry, "path"), allow),
        size=size,
        sha256=_parse_sha256(entry.get("sha256"), "sha256"),
        chunk_size=chunk_size,
        chunks=chunks,
        groups=tuple(_group_name(item, "groups") for item in need_list(entry.get("groups", []), "groups")),
        priority=_int(entry.get("priority", 0), "priority"),
        source=_parse_source(need_object(entry.get("source"), "source")),
        allow_unsafe=allow,
    )
    if chunks and len(chunks) != file.chunk_count:
        raise ShapeError(f"chunks: must have {file.chunk_count} hashes, has {len(chunks)}")
    if file.chunk_count > MAX_CHUNKS:
        raise ShapeError(f"chunk_size: must divide the file into at most {MAX_CHUNKS} chunks")
    if len(chunks) == 1 and chunks[0] != file.sha256:
        raise ShapeError("chunks: the hash of a single chunk must be equal to sha256")
    return file


def _parse_source(wire: JsonObject) -> Source:
    kind = need_text(wire, "kind")
    if kind == "r2":
        etag = maybe_text(wire.get("etag"))
        if etag is not None and not _ETAG.fullmatch(etag):
            raise ShapeError("source.etag: must be the ETag of the object, without quotes")
        return FromBucket(etag)
    if kind == "hf":
        repo, file = need_text(wire, "repo"), need_text(wire, "file")
        revision = maybe_text(wire.get("revision")) or "main"
        if not _REPO.fullmatch(repo):
            raise ShapeError("source.repo: must be <owner>/<name>")
        if any(part in ("", ".", "..") for part in file.split("/")) or not file.isprintable():
            raise ShapeError("source.file: must be a relative path in the repository")
        if not _REVISION.fullmatch(revision) or ".." in revision:
            raise ShapeError("source.revision: must be a branch, a tag or a commit")
        return FromHub(repo, file, revision)
    if kind == "url":
        url = need_text(wire, "url")
        try:
            parts = parse_url(url)
        except ShapeError as error:
            raise ShapeError(f"source.url: {error}") from None
        if not is_secure(parts):
            raise ShapeError("source.url: must be https, or http on loopback")
        return FromUrl(url)
    raise ShapeError("source.kind: must be r2, hf or url")


def _source_to_wire(source: Source) -> JsonObject:
    match source:
        case FromBucket(etag):
            return {"kind": "r2"} if etag is None else {"kind": "r2", "etag": etag}
        case FromHub(repo, file, revision):
            return {"kind": "hf", "repo": repo, "file": file, "revision": revision}
        case FromUrl(url):
            return {"kind": "url", "url": url}


def _parse_sha256(value: Json, name: str) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ShapeError(f"{name}: must be a SHA-256 in lower-case hex")
    return value


def _group_name(value: Json, name: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ShapeError(f"{name}: must be a list of printable strings")
    return value


def _int(value: Json, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ShapeError(f"{name}: must be a whole number")
    return value
