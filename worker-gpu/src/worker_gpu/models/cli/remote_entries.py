"""Manifest entries of files that stay on Hugging Face or another server, without downloading them."""

import re
from urllib.parse import urljoin, urlsplit

from worker_gpu.json_readers import ShapeError
from worker_gpu.models.download.redirects import MAX_REDIRECTS, REDIRECTS, request_head
from worker_gpu.models.download.remote_file import hub_error, hub_url
from worker_gpu.models.download.transport import TransientError
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromHub, FromUrl, ModelFile
from worker_gpu.models.manifest.manifest_entries import PushEntry, apply_entry
from worker_gpu.models.manifest.model_path import check_path
from worker_gpu.models.settings import ModelSettings

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"[0-9]{1,19}")


def describe_hub_file(source: FromHub, entry: PushEntry, settings: ModelSettings) -> ModelFile:
    """The entry of a file in a Hugging Face repository. Only for files in its large file storage does the hub send the
    SHA-256 (X-Linked-Etag). Raises `ModelError`."""
    _require_valid_path(entry)
    token = {"Authorization": f"Bearer {settings.hub_token}"} if settings.hub_token else {}
    url = hub_url(settings, source)
    try:
        # A renamed repository first redirects within the hub. The redirect to another host has the hash.
        for _ in range(MAX_REDIRECTS):
            response = request_head("HEAD", url, token, settings.timeouts.read_timeout_s)
            sha256 = response.headers.get("x-linked-etag", "").strip('"')
            size = response.headers.get("x-linked-size", "")
            if _SHA256.fullmatch(sha256) and _SIZE.fullmatch(size):
                return _entry(entry, int(size), sha256, source)
            if response.status >= 400:
                code = response.headers.get("x-error-code")
                raise hub_error(source, entry.path, response.status, code, settings)
            target = _same_host_target(url, response.headers.get("location", ""))
            if response.status not in REDIRECTS or target is None:
                break
            url = target
    except TransientError as fault:
        raise ModelError("store_unreachable", f"{source.repo}: {fault}", entry.path) from fault
    raise ModelError(
        "bad_setting", f"{source.repo} does not provide the SHA-256 of {source.file}; push a copy instead", entry.path
    )


def describe_url(url: str, size: int, sha256: str, entry: PushEntry) -> ModelFile:
    """The entry of a file at a URL, whose size and hash the caller provides. Raises `ModelError`."""
    _require_valid_path(entry)
    if not _SHA256.fullmatch(sha256):
        raise ModelError("bad_setting", "--sha256: must be 64 lower-case hex digits", entry.path)
    return _entry(entry, size, sha256, FromUrl(url))


def _same_host_target(url: str, location: str) -> str | None:
    """The target of a redirect to the same host; None otherwise."""
    try:
        target = urljoin(url, location)
        return target if urlsplit(target).netloc == urlsplit(url).netloc else None
    except ValueError:
        return None


def _entry(entry: PushEntry, size: int, sha256: str, source: FromHub | FromUrl) -> ModelFile:
    file = ModelFile(path=entry.path, size=size, sha256=sha256, source=source, allow_unsafe=entry.allow_unsafe)
    return apply_entry(entry, file, None)


def _require_valid_path(entry: PushEntry) -> None:
    try:
        check_path(entry.path, entry.allow_unsafe)
    except ShapeError as error:
        raise ModelError("bad_setting", f"{entry.path}: {error}", entry.path) from None
