"""AWS Signature Version 4 for S3, as a header.

Specification: docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. Its examples are the tests.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

from worker_gpu.models.settings import Credentials

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def encode_path(path: str) -> str:
    """`path` percent-encoded as S3 requires: only unreserved characters and slashes stay."""
    return quote(path, safe="/-_.~")


def signed(
    credentials: Credentials,
    method: str,
    host: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    payload_sha256: str,
    now: float,
) -> dict[str, str]:
    """`headers` plus the authentication headers of the request. `path` is already encoded; `now` is in seconds since
    1970."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{stamp[:8]}/{credentials.region}/s3/aws4_request"
    sent = {**headers, "x-amz-content-sha256": payload_sha256, "x-amz-date": stamp}
    canonical = {name.lower(): " ".join(value.split()) for name, value in {**sent, "host": host}.items()}
    names = ";".join(sorted(canonical))
    lines = "".join(f"{name}:{canonical[name]}\n" for name in sorted(canonical))
    request = "\n".join([method, path, encode_query(query), lines, names, payload_sha256])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = hmac.digest(_key(credentials.secret, scope), to_sign.encode(), "sha256").hex()
    proof = f"Credential={credentials.key_id}/{scope},SignedHeaders={names},Signature={signature}"
    return {**sent, "Authorization": f"AWS4-HMAC-SHA256 {proof}"}


@lru_cache(maxsize=4)
def _key(secret: str, scope: str) -> bytes:
    """Cached, because it changes once a day."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def encode_query(query: Mapping[str, str]) -> str:
    """`query` in canonical form, which is also valid in a URL."""
    return "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items()))
