"""A client of the models bucket for small reads and for uploads. `remote_file.py` reads ranges of models.

It uses obstore as `transport.py` does, but with obstore's retries, since these requests need not be canceled. The
signature of a request includes the SHA-256 of its body, so the store verifies what arrives.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from worker_gpu.models.download.remote_file import bucket_denied
from worker_gpu.models.download.transport import RefusedError, bucket_store, to_transient_error
from worker_gpu.models.errors import ModelError
from worker_gpu.models.settings import Bucket, TransferTimeouts

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import S3Store

PARALLEL_PARTS = 4
"""Parts of an upload that are sent at once. Each holds a chunk in memory."""
MIN_PART_BYTES = 5 * 1024 * 1024
"""S3's smallest part."""
_SHA256_ATTRIBUTE = "sha256"
"""The metadata key of an object's hash: x-amz-meta-sha256."""
MIN_PAUSE_S = 0.001
_RETRY_TIMEOUT_S = 300.0
"""No attempt starts later than this after the first one."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class BucketObject:
    """An object of the bucket. `etag` has no quotes; it is empty if the store sends none."""

    body: bytes
    etag: str


@dataclass(frozen=True)
class ObjectInfo:
    """The metadata of an object. `sha256` was set by the upload."""

    size: int
    etag: str
    sha256: str | None


class Unchanged:
    """The object still has the given ETag."""


class BucketClient:
    """Requests to one bucket, with up to `timeouts.attempts` attempts and a read timeout of
    `timeouts.read_timeout_s`. All methods raise `ModelError`."""

    def __init__(self, bucket: Bucket, timeouts: TransferTimeouts) -> None:
        self._bucket = bucket
        # obstore draws each pause from a range and panics if the range is empty.
        first_pause = max(MIN_PAUSE_S, timeouts.first_pause_s)
        self._store: S3Store = bucket_store(
            bucket,
            timeouts.read_timeout_s,
            {
                "max_retries": timeouts.attempts - 1,
                "retry_timeout": timedelta(seconds=_RETRY_TIMEOUT_S),
                "backoff": {
                    "init_backoff": timedelta(seconds=first_pause),
                    "max_backoff": timedelta(seconds=max(2 * first_pause, timeouts.max_pause_s)),
                    "base": 2,
                },
            },
        )

    def get(self, key: str) -> BucketObject | None:
        """An object, or None if it is missing."""
        found = self.get_if_changed(key, None)
        return None if isinstance(found, Unchanged) else found

    def get_if_changed(self, key: str, known_etag: str | None) -> BucketObject | Unchanged | None:
        """An object, `Unchanged` if its ETag is still `known_etag`, or None if it is missing."""
        from obstore import get
        from obstore.exceptions import NotModifiedError

        def read() -> BucketObject:
            answer = get(
                self._store, self._key(key), options={"if_none_match": f'"{known_etag}"'} if known_etag else {}
            )
            return BucketObject(bytes(answer.bytes()), _unquoted(answer.meta["e_tag"]))

        try:
            return self._run(read)
        except FileNotFoundError:
            return None
        except NotModifiedError:
            return Unchanged()

    def head(self, key: str) -> ObjectInfo | None:
        """The metadata of an object, or None if it is missing."""
        from obstore import get

        try:
            answer = self._run(lambda: get(self._store, self._key(key), options={"head": True}))
        except FileNotFoundError:
            return None
        return ObjectInfo(
            answer.meta["size"], _unquoted(answer.meta["e_tag"]), answer.attributes.get(_SHA256_ATTRIBUTE)
        )

    def put(self, key: str, body: bytes, content_type: str, sha256: str | None = None) -> str:
        """Store an object and return its ETag."""
        return self._put(key, body, content_type, sha256, "overwrite")

    def replace(self, key: str, body: bytes, content_type: str, known_etag: str | None) -> bool:
        """Replace the object that has `known_etag`, or create one if `known_etag` is None. Returns False if the
        bucket has another object."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: PutMode = {"e_tag": f'"{known_etag}"'} if known_etag is not None else "create"
        try:
            self._put(key, body, content_type, None, mode)
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def put_parts(
        self, key: str, parts: Iterator[bytes], part_bytes: int, content_type: str, sha256: str | None = None
    ) -> str:
        """Store a large object from parts of `part_bytes` (the last may be shorter), and return its ETag. An
        exception of `parts` cancels the upload, which stores nothing."""
        return self._put(key, parts, content_type, sha256, "overwrite", part_bytes)

    def _put(
        self,
        key: str,
        body: bytes | Iterator[bytes],
        content_type: str,
        sha256: str | None,
        mode: "PutMode",
        part_bytes: int | None = None,
    ) -> str:
        from obstore import put

        attributes = {"Content-Type": content_type, **({_SHA256_ATTRIBUTE: sha256} if sha256 is not None else {})}

        def write() -> str:
            done = put(
                self._store,
                self._key(key),
                body,
                attributes=attributes,
                mode=None if part_bytes else mode,
                use_multipart=part_bytes is not None,
                chunk_size=part_bytes or MIN_PART_BYTES,
                max_concurrency=PARALLEL_PARTS,
            )
            return _unquoted(done["e_tag"])

        try:
            return self._run(write)
        except FileNotFoundError:
            raise self._no_bucket() from None

    def _key(self, key: str) -> str:
        return self._bucket.prefix + key

    def _no_bucket(self) -> ModelError:
        return ModelError(
            "store_denied", f"the bucket {self._bucket.name} does not exist at MODELS_ENDPOINT_URL; check MODELS_BUCKET"
        )

    def _run(self, work: Callable[[], _T]) -> _T:
        """The result of `work`. Passes on `FileNotFoundError` and the exceptions of conditional requests."""
        from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError

        try:
            return work()
        except (AlreadyExistsError, NotModifiedError, PreconditionError):
            raise
        except BaseError as error:
            why = to_transient_error(error)
        if isinstance(why, RefusedError) and why.status in (401, 403):
            raise bucket_denied(why.status, why.body)
        raise ModelError("store_unreachable", f"the models bucket is unavailable: {why}")


def _unquoted(etag: str | None) -> str:
    return (etag or "").removeprefix("W/").strip('"')
