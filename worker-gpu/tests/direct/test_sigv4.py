"""AWS's own examples (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html)."""

import calendar
import hashlib

import pytest

from worker_gpu.direct.sigv4 import EMPTY_SHA256, encode_path, signed
from worker_gpu.models.settings import Credentials

EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
HOST = "examplebucket.s3.amazonaws.com"
MOMENT = calendar.timegm((2013, 5, 24, 0, 0, 0))
WELCOME = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
PUT_HEADERS = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "payload", "signature"),
    [
        (
            *("GET", "/test.txt", {}, {"Range": "bytes=0-9"}, EMPTY_SHA256),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            *("PUT", "/test$file.text", {}, PUT_HEADERS, WELCOME),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            *("GET", "/", {"lifecycle": ""}, {}, EMPTY_SHA256),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            *("GET", "/", {"max-keys": "2", "prefix": "J"}, {}, EMPTY_SHA256),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_signature_matches_a_published_example(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], payload: str, signature: str
) -> None:
    sent = signed(EXAMPLE, method, HOST, encode_path(path), query, headers, payload, MOMENT)
    assert sent["Authorization"].endswith(f"Signature={signature}")


def test_secret_is_not_in_the_repr() -> None:
    assert EXAMPLE.secret not in repr(EXAMPLE)
