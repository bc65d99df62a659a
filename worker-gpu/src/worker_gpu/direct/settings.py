"""Settings of direct jobs, read from the environment once. docs/reference/worker.md lists the variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker_gpu.models.settings import Credentials

_AWS_REGION = re.compile(r"\bs3[.-]([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com$")


@dataclass(frozen=True)
class OutputBucket:
    """The bucket for outputs. `base` is its URL without a trailing slash."""

    base: str
    credentials: Credentials
    prefix: str = ""


@dataclass(frozen=True)
class DirectSettings:
    """Without `bucket`, outputs are in the response as base64."""

    bucket: OutputBucket | None = None
    max_answer_bytes: int | None = None
    timeout_s: float = 600.0
    silence_s: float = 0.0
    stream: bool = False
    comfy_org_api_key: str | None = field(default=None, repr=False)


class BucketIncomplete(ValueError):  # noqa: N818 -- one line for the person who starts the worker
    """BUCKET_ENDPOINT_URL is set, but another variable is missing or wrong; the message names it."""


def read_bucket(env: Mapping[str, str]) -> OutputBucket | None:
    """The bucket of the BUCKET_… variables; None if BUCKET_ENDPOINT_URL is not set. Raises `BucketIncomplete`."""
    endpoint = env.get("BUCKET_ENDPOINT_URL", "").rstrip("/")
    if not endpoint:
        return None
    if not endpoint.startswith(("https://", "http://")) or "?" in endpoint or "@" in endpoint:
        raise BucketIncomplete("BUCKET_ENDPOINT_URL: must be an http or https URL without query and user")
    key_id, secret = env.get("BUCKET_ACCESS_KEY_ID"), env.get("BUCKET_SECRET_ACCESS_KEY")
    if not key_id or not secret:
        raise BucketIncomplete("BUCKET_ENDPOINT_URL needs BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY")
    name = env.get("BUCKET_NAME", "").strip("/")
    # Without a name the endpoint is the URL of the bucket, as worker-comfyui documents it.
    base = f"{endpoint}/{name}" if name and not endpoint.endswith(f"/{name}") else endpoint
    aws = _AWS_REGION.search(endpoint)
    region = env.get("BUCKET_REGION") or (aws.group(1) if aws is not None else "auto")
    prefix = env.get("BUCKET_PREFIX", "").strip("/")
    return OutputBucket(base, Credentials(key_id, secret, region), f"{prefix}/" if prefix else "")
