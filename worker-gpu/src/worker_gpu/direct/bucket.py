"""Stores outputs in an S3 or R2 bucket of the user: signed PUTs for the uploader, presigned GETs for the response."""

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from worker_gpu.direct.settings import OutputBucket
from worker_gpu.direct.sigv4 import encode_path, encode_query, signed
from worker_gpu.errors import JobError
from worker_gpu.models.settings import Credentials
from worker_gpu.wire.client import FileToUpload
from worker_gpu.wire.contract import MultipartUpload, PutUpload, Upload

LINK_S = 7 * 24 * 3600
"""Lifetime of the links in a response: the maximum of SigV4, and that of worker-comfyui (reference/runpod.md section
4.3)."""
MAX_PUT_BYTES = 4995 * 1024**3 // 1000
"""R2's largest single PUT, 4.995 GiB (reference/gpu-worker.md section 1.3)."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._/-]")


class BucketStore:
    """An `UploadStore` for one job, in a folder of the bucket named after the job."""

    def __init__(self, bucket: OutputBucket, job: str, wall: Callable[[], float]) -> None:
        self._bucket = bucket
        self._folder = f"{bucket.prefix}{_UNSAFE.sub('_', job).replace('/', '_')}/"
        self._wall = wall

    async def uploads(self, files: list[FileToUpload], until: float) -> list[Upload]:
        """See `UploadStore`."""
        del until
        return [self._upload(file) for file in files]

    async def finish_upload(self, upload: MultipartUpload, etags: list[tuple[int, str]], until: float) -> bool:
        """Never called, because every upload is one PUT."""
        del upload, etags, until
        return False

    def link(self, key: str) -> str:
        """A URL that anyone can read the object from for LINK_S seconds."""
        return presigned_get(self._bucket.credentials, f"{self._bucket.base}/{encode_path(key)}", LINK_S, self._wall())

    def _upload(self, file: FileToUpload) -> Upload:
        if file.size_bytes > MAX_PUT_BYTES:
            raise JobError(
                "output_too_large",
                f"The output {file.name} is larger than 4.995 GiB.",
            )
        key = self._folder + _url_safe(file.name)
        url = f"{self._bucket.base}/{encode_path(key)}"
        parts = urlsplit(url)
        # The bucket rejects content that does not have this hash.
        headers = signed(
            self._bucket.credentials,
            "PUT",
            parts.netloc,
            parts.path,
            {},
            {"content-type": file.content_type},
            file.sha256,
            self._wall(),
        )
        return PutUpload(key, url, headers)


def presigned_get(credentials: Credentials, url: str, seconds: int, now: float) -> str:
    """`url` with a signature that allows GET for `seconds` from `now` (seconds since 1970).

    Specification: docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html, whose example is the test.
    """
    parts = urlsplit(url)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{stamp[:8]}/{credentials.region}/s3/aws4_request"
    query = encode_query(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{credentials.key_id}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
    )
    request = "\n".join(["GET", parts.path or "/", query, f"host:{parts.netloc}\n", "host", "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{url}?{query}&X-Amz-Signature={key.hex()}"


def _url_safe(name: str) -> str:
    """`name` without characters that URL libraries encode differently. A changed name gets a hash to stay unique."""
    plain = _UNSAFE.sub("_", name)
    if plain == name:
        return name
    folder, slash, last = plain.rpartition("/")
    return f"{folder}{slash}{hashlib.sha256(name.encode()).hexdigest()[:8]}-{last}"
