"""One file at its source: asks for ranges of it and refuses answers that are not exactly that range."""

import re
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

from worker_gpu.models.errors import ModelCode, ModelError
from worker_gpu.models.manifest import FromBucket, FromHub, FromUrl, ModelFile
from worker_gpu.models.settings import HUB, Bucket, ModelSettings
from worker_gpu.models.sigv4 import EMPTY_SHA256, encode_path, signed
from worker_gpu.models.urls import is_private, parse_url
from worker_gpu.models.wire import REDIRECTS, Passing, Reply, Wire
from worker_gpu.shape import ShapeError

MAX_REDIRECTS = 5
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_ERROR_CODE = re.compile(rb"<Code>(\w+)</Code>")


class Remote:
    """A file of the manifest as its source serves it. For several lanes at once."""

    def __init__(self, file: ModelFile, settings: ModelSettings, now: Callable[[], float] = time.time) -> None:
        self._file = file
        self._settings = settings
        self._now = now
        self._moved_to: str | None = None
        self._lock = threading.Lock()
        self._etag = file.source.etag if isinstance(file.source, FromBucket) else None

    def open_range(self, wire: Wire, first: int, length: int) -> Reply:
        """An answer whose body is `length` bytes from `first`. Raises `Passing`, or `ModelError` when no further try
        can help."""
        wanted = {"Range": f"bytes={first}-{first + length - 1}"}
        url, moved = self._moved_to or self._url(), self._moved_to is not None
        for _ in range(MAX_REDIRECTS + 1):
            response = wire.send("GET", url, self._headers(url, wanted))
            if response.status not in REDIRECTS:
                break
            wire.drain(response)
            url, moved = _follow(url, response, self._file.path), True
        else:
            raise Passing("too many redirects")
        if response.status in (200, 206):
            self._check(response, first, length, wire)
            if moved:
                self._moved_to = url
            return response
        raise self._refusal(response, wire.drain(response), moved)

    def _url(self) -> str:
        match self._file.source:
            case FromBucket():
                if self._settings.bucket is None:
                    raise ModelError(
                        "bad_setting", f"{self._file.path} is in the bucket: set MODELS_BUCKET", self._file.path
                    )
                return object_url(self._settings.bucket, self._file.path)
            case FromHub(repo, file, revision):
                return f"{self._settings.hub}/{repo}/resolve/{quote(revision, safe='')}/{quote(file)}"
            case FromUrl(url):
                return url

    def _headers(self, url: str, wanted: dict[str, str]) -> dict[str, str]:
        match self._file.source:
            case FromBucket():
                conditions = {"If-Match": f'"{self._etag}"'} if self._etag is not None else {}
                bucket = self._settings.bucket
                assert bucket is not None  # noqa: S101 -- _url has looked
                return sign(bucket, "GET", url, {**wanted, **conditions}, self._now())
            case FromHub():
                # The hub redirects to a store whose URL is signed; the token is for the hub alone.
                token = self._settings.hub_token
                ours = urlsplit(url).netloc == urlsplit(self._settings.hub).netloc
                return {**wanted, "Authorization": f"Bearer {token}"} if token and ours else wanted
            case FromUrl():
                return wanted

    def _check(self, response: Reply, first: int, length: int, wire: Wire) -> None:
        """Raises unless the answer is about the range asked for, of the object that was planned."""
        file = self._file
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Passing("the answer is compressed")
            if response.status == 200:
                total, given = response.length, (0, (response.length or 0) - 1)
                if first == 0 and length == file.size and total != file.size:
                    raise self._replaced(f"has {total} bytes at its source, {file.size} in the manifest")
            else:
                found = _RANGE.fullmatch(response.headers.get("content-range", ""))
                if found is None:
                    raise Passing("206 without a Content-Range")
                given, total = (int(found[1]), int(found[2])), int(found[3])
                if total != file.size:
                    raise self._replaced(f"has {total} bytes at its source, {file.size} in the manifest")
            if given != (first, first + length - 1):
                raise Passing(f"asked for bytes {first}-{first + length - 1}, got {given[0]}-{given[1]}")
            if response.length is not None and response.length != length:
                raise Passing(f"Content-Length is {response.length}, the range has {length}")
            self._same_object(response.headers.get("etag"))
        except (Passing, ModelError):
            wire.drop()
            raise

    def _same_object(self, header: str | None) -> None:
        if header is None or not isinstance(self._file.source, FromBucket):
            return
        etag = header.removeprefix("W/").strip('"')
        with self._lock:
            if self._etag is None:
                self._etag = etag
        if etag != self._etag:
            raise self._replaced("was replaced in the bucket while it was read")

    def _refusal(self, response: Reply, body: bytes, moved: bool) -> Exception:
        status, path = response.status, self._file.path
        if status in (412, 416):
            return self._replaced("was replaced in the bucket since the manifest was written")
        if moved and status in (401, 403, 404, 410):
            # A signed URL that has expired: ask the source for a new one.
            self._moved_to = None
            return Passing(f"the redirect target answered {status}")
        if status in (401, 403, 404, 410):
            if isinstance(self._file.source, FromHub):
                return hub_refusal(
                    self._file.source, path, status, response.headers.get("x-error-code"), self._settings
                )
            if status in (404, 410):
                return ModelError("model_missing", f"{path} is in the manifest but not at its source", path)
            if isinstance(self._file.source, FromBucket):
                return bucket_denied(status, body)
            return ModelError("model_denied", f"{path}: its URL answered {status}", path)
        return Passing(f"the source answered {status}")

    def _replaced(self, what: str) -> ModelError:
        return ModelError("model_replaced", f"{self._file.path} {what}; push it again", self._file.path)


def object_url(bucket: Bucket, key: str) -> str:
    """Where `key`, below the bucket's prefix, is."""
    return f"{bucket.endpoint}/{encode_path(bucket.name)}/{encode_path(bucket.prefix + key)}"


def sign(
    bucket: Bucket, method: str, url: str, headers: dict[str, str], now: float, payload_sha256: str = EMPTY_SHA256
) -> dict[str, str]:
    """`headers` with a signature for `url`."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return signed(bucket.credentials, method, parts.netloc, parts.path, query, headers, payload_sha256, now)


def bucket_denied(status: int, body: bytes) -> ModelError:
    """The error for a bucket that answers 401 or 403."""
    code = _ERROR_CODE.search(body)
    reason = code[1].decode() if code else str(status)
    return ModelError("store_denied", f"the models bucket refuses the credentials in MODELS_ACCESS_KEY_ID ({reason})")


def hub_refusal(source: FromHub, path: str, status: int, code: str | None, settings: ModelSettings) -> ModelError:
    """The error for a repository that does not give a file (X-Error-Code is the hub's own word for why)."""
    repo, page = source.repo, f"{settings.hub}/{source.repo}"

    def refused(to: ModelCode, why: str) -> ModelError:
        # A hub of one's own is nothing that a client should hear of.
        return ModelError(to, f"{path}: {repo} on Hugging Face {why}", path, page if settings.hub == HUB else None)

    if code in ("EntryNotFound", "RevisionNotFound") or (status in (404, 410) and code != "RepoNotFound"):
        return refused("model_missing", f"has no file {source.file} at {source.revision} ({page})")
    if code == "RepoNotFound" and settings.hub_token:
        return refused("model_missing", "does not exist, or HF_TOKEN may not see it")
    if code == "GatedRepo" or status == 403:
        how = "with the account of HF_TOKEN" if settings.hub_token else "and set HF_TOKEN"
        return refused("model_denied", f"is gated: accept its terms at {page} {how}")
    return refused("model_denied", f"is private, gated or does not exist: set HF_TOKEN ({page})")


def _follow(url: str, response: Reply, path: str) -> str:
    target = redirect_target(url, response)
    if target is None:
        raise ModelError("model_denied", f"{path}: its source redirects to something that is not https", path)
    return target


def redirect_target(url: str, response: Reply) -> str | None:
    """Where a redirect from `url` leads; None where nobody should follow."""
    try:
        target = urljoin(url, response.headers.get("location", ""))
        return target if is_private(parse_url(target)) else None
    except (ValueError, ShapeError):
        return None
