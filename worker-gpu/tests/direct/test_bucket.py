"""Outputs in a bucket: R2's own S3 endpoint checks signatures and hashes."""

import hashlib
import urllib.request
from pathlib import Path

import pytest

from direct.harness import direct_harness, entries
from direct.test_answers import SAVE, listing
from fakes.comfy import PNG
from models.local_r2 import r2
from worker_gpu.direct.bucket import presigned_get
from worker_gpu.direct.settings import BucketIncomplete, DirectSettings, OutputBucket, read_bucket
from worker_gpu.models.settings import Credentials


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 -- loopback
        return answer.read()


@pytest.mark.asyncio
async def test_outputs_are_stored_in_the_bucket_and_readable_by_their_links(tmp_path: Path) -> None:
    with r2() as given:
        bucket = OutputBucket(f"{given.endpoint}/{given.name}", given.credentials, "out/")
        files = {"a b+é(1).png": PNG, "big.png": PNG + bytes(9_000_000)}
        async with direct_harness(tmp_path, listing(files), DirectSettings(bucket=bucket)) as harness:
            answer = await harness.run({"workflow": SAVE})

            found = {str(entry["filename"]): entry for entry in entries(answer, "images")}
            assert set(found) == set(files)
            for name, entry in found.items():
                assert entry["type"] == "s3_url"
                assert fetch(str(entry["data"])) == files[name]
                assert entry["sha256"] == hashlib.sha256(files[name]).hexdigest()
            assert given.credentials.secret not in harness.log.getvalue()


@pytest.mark.asyncio
async def test_bucket_that_rejects_an_upload_fails_the_job(tmp_path: Path) -> None:
    with r2() as given:
        wrong = OutputBucket(f"{given.endpoint}/{given.name}", Credentials("local", "another"), "")
        async with direct_harness(tmp_path, listing({"a.png": PNG}), DirectSettings(bucket=wrong)) as harness:
            answer = await harness.run({"workflow": SAVE})

            assert answer["code"] == "upload_failed"
            assert "another" not in str(answer)


def test_presigned_url_matches_the_example_of_amazon() -> None:
    """docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html."""
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
    url = presigned_get(credentials, "https://examplebucket.s3.amazonaws.com/test.txt", 86400, 1369353600.0)
    assert url.endswith("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


KEYS = {"BUCKET_ACCESS_KEY_ID": "k", "BUCKET_SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize(
    ("env", "base", "region"),
    [
        ({"BUCKET_ENDPOINT_URL": "https://a.r2.example", "BUCKET_NAME": "out"}, "https://a.r2.example/out", "auto"),
        (
            {"BUCKET_ENDPOINT_URL": "https://out.s3.eu-west-1.amazonaws.com"},
            "https://out.s3.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
    ],
)
def test_bucket_settings_accept_the_forms_of_worker_comfyui(env: dict[str, str], base: str, region: str) -> None:
    bucket = read_bucket({**env, **KEYS})
    assert bucket is not None
    assert (bucket.base, bucket.credentials.region) == (base, region)


def test_incomplete_bucket_settings_are_rejected_at_start() -> None:
    with pytest.raises(BucketIncomplete, match="BUCKET_SECRET_ACCESS_KEY"):
        read_bucket({"BUCKET_ENDPOINT_URL": "https://x", "BUCKET_ACCESS_KEY_ID": "k"})
