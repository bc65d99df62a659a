"""The models bucket as a whole object store: small reads, and uploads. Ranged reads of models are `remote.py`.

By obstore, like those (`download/transport.py`), with its own retries: nothing here has to end before it is done. Each
request carries the SHA-256 of its body in the signature, so the store checks what arrives.
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
"""Parts of an upload sent at once: each holds a chunk in memory."""
MIN_PART_BYTES = 5 * 1024 * 1024
"""S3's smallest part."""
_SHA256_ATTRIBUTE = "sha256"
"""As metadata of an object: x-amz-meta-sha256."""
MIN_PAUSE_S = 0.001
_RETRY_TIMEOUT_S = 300.0
"""No try begins later than this after the first."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class BucketObject:
    """An object. `etag` without quotes, empty where the store gives none."""

    body: bytes
    etag: str


@dataclass(frozen=True)
class ObjectInfo:
    """What the store says of an object. `sha256`: what who uploaded it said of it."""

    size: int
    etag: str
    sha256: str | None


class Unchanged:
    """The object is still the one whose tag was given."""


class BucketClient:
    """Requests to one bucket, each tried again while it may help: `patience.attempts` times, with a silence of
    `patience.read_s` at most. All of its methods raise `ModelError`."""

    def __init__(self, bucket: Bucket, timeouts: TransferTimeouts) -> None:
        self._bucket = bucket
        # obstore draws each pause from a range, and panics where that is empty.
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
        """An object; None when there is none."""
        found = self.get_if_changed(key, None)
        return None if isinstance(found, Unchanged) else found

    def get_if_changed(self, key: str, known_etag: str | None) -> BucketObject | Unchanged | None:
        """An object, unless `known_etag` is still its tag; None when there is none."""
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
        """What the store says of an object; None when there is none."""
        from obstore import get

        try:
            answer = self._run(lambda: get(self._store, self._key(key), options={"head": True}))
        except FileNotFoundError:
            return None
        return ObjectInfo(
            answer.meta["size"], _unquoted(answer.meta["e_tag"]), answer.attributes.get(_SHA256_ATTRIBUTE)
        )

    def put(self, key: str, body: bytes, content_type: str, sha256: str | None = None) -> str:
        """Store an object; its tag."""
        return self._put(key, body, content_type, sha256, "overwrite")

    def replace(self, key: str, body: bytes, content_type: str, known_etag: str | None) -> bool:
        """Store an object in place of the one with `known_etag`, or where there is none (None). False when something
        else is there."""
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
        """Store a large object of parts of `part_bytes`, the last one shorter; its tag. What `parts` raises ends the
        upload, and nothing of it stays."""
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
        return ModelError("store_denied", f"there is no bucket {self._bucket.name} at MODELS_ENDPOINT_URL")

    def _run(self, work: Callable[[], _T]) -> _T:
        """Its result. `FileNotFoundError`, and what a condition of the request raises, pass."""
        from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError

        try:
            return work()
        except (AlreadyExistsError, NotModifiedError, PreconditionError):
            raise
        except BaseError as error:
            why = to_transient_error(error)
        if isinstance(why, RefusedError) and why.status in (401, 403):
            raise bucket_denied(why.status, why.body)
        raise ModelError("store_unreachable", f"the models bucket cannot be used: {why}")


def _unquoted(etag: str | None) -> str:
    return (etag or "").removeprefix("W/").strip('"')
