"""A model file at its source: requests ranges and rejects responses that are not exactly the range."""

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from worker_gpu.models.download.redirects import final_head, token_for
from worker_gpu.models.download.transport import (
    Check,
    NoRangesError,
    ObjectStore,
    RangeBody,
    RefusedError,
    TransientError,
    Transport,
    UnexpectedRangeError,
    url_store,
)
from worker_gpu.models.errors import ModelCode, ModelError
from worker_gpu.models.manifest.manifest import FromBucket, FromHub, FromUrl, ModelFile
from worker_gpu.models.settings import HUB, ModelSettings

if TYPE_CHECKING:
    from obstore import GetOptions

_ERROR_CODE = re.compile(r"<Code>(\w+)</Code>")
_UNAVAILABLE = frozenset({401, 403, 404, 410})


class RemoteFile:
    """A manifest file at its source. Threads may share it."""

    def __init__(self, file: ModelFile, settings: ModelSettings) -> None:
        self._file = file
        self._settings = settings
        self._location: _Location | None = None
        self._lock = threading.Lock()
        self._etag = file.source.etag if isinstance(file.source, FromBucket) else None

    def open_range(self, transport: Transport, first: int, length: int, check: Check) -> RangeBody:
        """Request `length` bytes from byte `first`. Raises `TransientError`, `ModelError` if a retry cannot help,
        and what `check` raises."""
        location = self._locate_once(transport, check)
        options: GetOptions = {"range": (first, first + length)}
        if self._etag is not None:
            options["if_match"] = f'"{self._etag}"'
        try:
            try:
                body = transport.get(location.store, location.key, options, check)
            except NoRangesError:
                # A web server may not support ranges. For a file of one chunk the whole response is the range.
                if (first, length) != (0, self._file.size):
                    raise
                body = transport.get(location.store, location.key, {}, check)
        except RefusedError as refused:
            raise self._refused_error(refused, location) from refused
        except UnexpectedRangeError as error:
            if error.requested != (first, first + length):
                raise self._replaced_error("has fewer bytes at its source than in the manifest") from error
            raise
        try:
            self._check(body, first, length)
        except Exception:
            body.close()
            raise
        return body

    def _locate_once(self, transport: Transport, check: Check) -> "_Location":
        """The location of the file. One thread resolves it, and the others wait."""
        while not self._lock.acquire(timeout=transport.check_interval_s):
            check()
        try:
            if self._location is None:
                self._location = self._locate(transport)
            return self._location
        finally:
            self._lock.release()

    def _locate(self, transport: Transport) -> "_Location":
        settings, path, read_timeout_s = self._settings, self._file.path, self._settings.timeouts.read_timeout_s
        match self._file.source:
            case FromBucket():
                if settings.bucket is None:
                    raise ModelError("bad_setting", f"{path} is in the bucket; set MODELS_BUCKET", path)
                return _Location(
                    transport.bucket_store(settings.bucket, read_timeout_s), settings.bucket.prefix + path, False
                )
            case FromHub() as source:
                url, token = hub_url(settings, source), settings.hub_token
            case FromUrl(url):
                token = None
        host = urlsplit(settings.hub).netloc
        head = final_head(url, host, token, path, read_timeout_s)
        if head.status not in (200, 206):
            raise self._error_for_status(head.status, head.headers.get("x-error-code"), "", head.url != url)
        return _Location(url_store(head.url, token_for(head.url, host, token), read_timeout_s), "", head.url != url)

    def _check(self, body: RangeBody, first: int, length: int) -> None:
        """Raise unless the response is the requested range of the object in the manifest."""
        file = self._file
        if body.attributes.get("Content-Encoding", "identity") != "identity":
            raise TransientError("the response is compressed")
        if body.meta["size"] != file.size:
            raise self._replaced_error(f"has {body.meta['size']} bytes at its source, {file.size} in the manifest")
        if body.range != (first, first + length):
            raise TransientError(f"requested bytes {first} to {first + length}, got {body.range[0]} to {body.range[1]}")
        self._same_object(body.meta["e_tag"])

    def _same_object(self, header: str | None) -> None:
        if header is None or not isinstance(self._file.source, FromBucket):
            return
        etag = header.removeprefix("W/").strip('"')
        with self._lock:
            if self._etag is None:
                self._etag = etag
        if etag != self._etag:
            raise self._replaced_error("was replaced in the bucket while it was read")

    def _refused_error(self, refused: RefusedError, location: "_Location") -> Exception:
        if location.redirected and refused.status in _UNAVAILABLE:
            # The signed URL may have expired: the next attempt requests a new one.
            with self._lock:
                if self._location is location:
                    self._location = None
            return TransientError(f"the redirect target responded with {refused.status}")
        return self._error_for_status(refused.status, None, refused.body, location.redirected)

    def _error_for_status(self, status: int, code: str | None, body: str, redirected: bool) -> Exception:
        path, source = self._file.path, self._file.source
        if status in (412, 416):
            return self._replaced_error("was replaced in the bucket since the manifest was written")
        if status not in _UNAVAILABLE:
            return TransientError(f"the source responded with {status}")
        if redirected:
            return TransientError(f"the redirect target responded with {status}")
        if isinstance(source, FromHub):
            return hub_error(source, path, status, code, self._settings)
        if status in (404, 410):
            return ModelError("model_missing", f"{path} is in the manifest but not at its source", path)
        if isinstance(source, FromBucket):
            return bucket_denied(status, body)
        return ModelError("model_denied", f"{path}: its URL responded with {status}", path)

    def _replaced_error(self, what: str) -> ModelError:
        return ModelError("model_replaced", f"{self._file.path} {what}; push it again", self._file.path)


@dataclass(frozen=True)
class _Location:
    """Where to read ranges. `redirected`: it is the target of a redirect of the source."""

    store: ObjectStore
    key: str
    redirected: bool


def hub_url(settings: ModelSettings, source: FromHub) -> str:
    """The URL of a file on the hub, which may redirect."""
    return f"{settings.hub}/{source.repo}/resolve/{quote(source.revision, safe='')}/{quote(source.file)}"


def bucket_denied(status: int, body: str) -> ModelError:
    """The error when the bucket responds with 401 or 403."""
    code = _ERROR_CODE.search(body)
    reason = code[1] if code else str(status)
    return ModelError("store_denied", f"the models bucket rejects the key in MODELS_ACCESS_KEY_ID ({reason})")


def hub_error(source: FromHub, path: str, status: int, code: str | None, settings: ModelSettings) -> ModelError:
    """The error when the hub refuses a file. `code` is its X-Error-Code header."""
    repo, page = source.repo, f"{settings.hub}/{source.repo}"

    def refused(to: ModelCode, why: str) -> ModelError:
        # Clients must not see the URL of a private hub.
        return ModelError(to, f"{path}: {repo} on Hugging Face {why}", path, page if settings.hub == HUB else None)

    if code in ("EntryNotFound", "RevisionNotFound") or (status in (404, 410) and code != "RepoNotFound"):
        return refused("model_missing", f"has no file {source.file} at {source.revision} ({page})")
    if code == "RepoNotFound" and settings.hub_token:
        return refused("model_missing", "does not exist, or HF_TOKEN may not see it")
    if code == "GatedRepo" or status == 403:
        how = "with the account of HF_TOKEN" if settings.hub_token else "and set HF_TOKEN"
        return refused("model_denied", f"is gated: accept its terms at {page} {how}")
    return refused("model_denied", f"is private, gated or does not exist: set HF_TOKEN ({page})")
