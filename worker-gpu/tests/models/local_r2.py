"""R2's local S3 endpoint in a process of its own."""

import json
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from worker_gpu.models.settings import Bucket, Credentials

REPOSITORY = Path(__file__).parents[3]


def bucket_env(bucket: Bucket, folder: Path) -> dict[str, str]:
    """Environment variables for the `models` commands, with this bucket and models folder."""
    return {
        "MODELS_DIR": str(folder),
        "MODELS_BUCKET": bucket.name,
        "MODELS_PREFIX": bucket.prefix,
        "MODELS_ENDPOINT_URL": bucket.endpoint,
        "MODELS_ACCESS_KEY_ID": bucket.credentials.key_id,
        "MODELS_SECRET_ACCESS_KEY": bucket.credentials.secret,
        "MODELS_VOLUME": "",
    }


@contextmanager
def r2() -> Generator[Bucket]:
    """An empty bucket in memory."""
    installed = REPOSITORY / "node_modules" / ".bin" / "node"
    node = str(installed) if installed.exists() else shutil.which("node")
    assert node is not None, "the repository's Node is not installed: npm ci"
    process = subprocess.Popen(  # noqa: S603 -- a script of ours
        [node, str(Path(__file__).with_name("local_r2.mjs"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        endpoint: str = json.loads(process.stdout.readline())["endpoint"]
        yield Bucket(endpoint, "models", Credentials("local", "local-secret"))
    finally:
        process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()
