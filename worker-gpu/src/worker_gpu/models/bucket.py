"""The models bucket as a whole object store: small reads, and uploads. Ranged reads of models are `remote.py`."""

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker_gpu.models.errors import ModelError
from worker_gpu.models.remote import bucket_denied, object_url, sign
from worker_gpu.models.settings import Bucket, Patience
from worker_gpu.models.sigv4 import EMPTY_SHA256, encode_query
from worker_gpu.models.wire import Passing, Reply, Wire

SHA_HEADER = "x-amz-meta-sha256"
_UPLOAD_ID = re.compile(rb"<UploadId>([^<]+)</UploadId>")
_ETAG = re.compile(rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]+)")


@dataclass(frozen=True)
class Answer:
    """What the store said. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def etag(self) -> str:
        """Without quotes."""
        return self.headers.get("etag", "").removeprefix("W/").strip('"')


class Store:
    """Requests to one bucket, each tried again while it may help. For one thread; `another` gives one for the next."""

    def __init__(
        self,
        bucket: Bucket,
        patience: Patience,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._bucket = bucket
        self._patience = patience
        self._now = now
        self._pause = pause
        self._chance = chance
        self._wire = Wire(patience.read_s)

    def another(self) -> "Store":
        """The same bucket over a connection of its own."""
        return Store(self._bucket, self._patience, self._now, self._pause, self._chance)

    def close(self) -> None:
        """Close the connection."""
        self._wire.drop()

    def get(self, key: str, known_etag: str | None = None) -> Answer:
        """An object; 304 without a body when `known_etag` is still its tag, 404 when there is none."""
        return self._send("GET", key, {}, {"If-None-Match": f'"{known_etag}"'} if known_etag else {}, b"", {304, 404})

    def head(self, key: str) -> Answer:
        """An object's headers; 404 when there is none."""
        return self._send("HEAD", key, {}, {}, b"", {404})

    def put(
        self, key: str, body: bytes, headers: Mapping[str, str], sha256: str, only_if: Mapping[str, str] | None = None
    ) -> Answer:
        """Store an object, checked by the store against `sha256`; 412 when `only_if` does not hold."""
        return self._send("PUT", key, {}, {**headers, **(only_if or {})}, body, {412}, sha256)

    def begin_multipart(self, key: str, headers: Mapping[str, str]) -> str:
        """The id of a new multipart upload."""
        answer = self._send("POST", key, {"uploads": ""}, headers, b"", set())
        found = _UPLOAD_ID.search(answer.body)
        if found is None:
            raise ModelError("store_unreachable", "the models bucket began an upload without giving its id")
        return found[1].decode()

    def put_part(self, key: str, upload: str, number: int, body: bytes, sha256: str) -> str:
        """Store a part (numbers from 1); its tag."""
        query = {"partNumber": str(number), "uploadId": upload}
        return self._send("PUT", key, query, {}, body, set(), sha256).etag

    def end_multipart(self, key: str, upload: str, etags: list[str], sha256_of: Callable[[bytes], str]) -> str:
        """Put the parts together; the object's tag."""
        parts = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag></Part>'
            for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self._send("POST", key, {"uploadId": upload}, {}, body, set(), sha256_of(body))
        found = _ETAG.search(answer.body)
        # S3 may say 200 and put an error into the body.
        if found is None:
            raise ModelError("store_unreachable", "the models bucket did not put the parts of an upload together")
        return found[1].decode()

    def abort_multipart(self, key: str, upload: str) -> None:
        """Throw the parts away."""
        self._send("DELETE", key, {"uploadId": upload}, {}, b"", {404})

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        expected: set[int],
        sha256: str = EMPTY_SHA256,
    ) -> Answer:
        """2xx and `expected` come back. Raises `ModelError` for the rest."""
        url = object_url(self._bucket, key) + (f"?{encode_query(query)}" if query else "")
        cause = ""
        for tries in range(self._patience.attempts):
            if tries:
                most = min(self._patience.most_pause_s, self._patience.first_pause_s * 2 ** (tries - 1))
                self._pause(self._chance() * most)
            try:
                signed = sign(self._bucket, method, url, dict(headers), self._now(), sha256)
                answer = self._read(self._wire.send(method, url, signed, body or None))
            except Passing as fault:
                cause = str(fault)
                continue
            if answer.status < 300 or answer.status in expected:
                return answer
            if answer.status in (401, 403):
                raise bucket_denied(answer.status, answer.body)
            if answer.status == 404:
                raise ModelError("store_denied", f"there is no bucket {self._bucket.name} at MODELS_ENDPOINT_URL")
            cause = f"the store answered {answer.status}"
            if answer.status < 500 and answer.status not in (408, 429):
                break
        raise ModelError("store_unreachable", f"the models bucket cannot be used: {cause}")

    def _read(self, reply: Reply) -> Answer:
        try:
            body = reply.read()
        except Passing:
            self._wire.drop()
            raise
        return Answer(reply.status, reply.headers, body)
