"""The behavior of obstore that the worker relies on or has to prevent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.faulty_store import FaultyStore
from models.pulling import pull
from models.samples import CHUNK, content, manifest_bytes, model, settings
from worker_gpu.models.download.transport import RefusedError, TransientError, UnexpectedRangeError, to_transient_error

PATH = "checkpoints/x.safetensors"
BODY = content(CHUNK * 3, 1)
SECRET_URL = "https://cdn.example/x?X-Amz-Signature=secret"


def test_worker_without_models_does_not_import_obstore() -> None:
    script = "import sys, worker_gpu.lifecycle.process, worker_gpu.models.service; sys.exit('obstore' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=env)  # noqa: S603 -- a script of ours


def test_aws_variables_do_not_change_requests(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_SESSION_TOKEN": "of-something-else",
        "AWS_ACCESS_KEY_ID": "of-something-else",
        "AWS_ENDPOINT": "http://127.0.0.1:9",
        "AWS_REGION": "mars",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REQUEST_PAYER": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    }.items():
        monkeypatch.setenv(name, value)
    store.objects.update({PATH: BODY, "manifest.json": manifest_bytes(model(PATH, BODY))})
    assert pull(settings(tmp_path, store.bucket)).errors == []
    for asked in store.asked:
        assert "Credential=local/" in asked.headers["authorization"]
        assert "/auto/s3/" in asked.headers["authorization"]
        assert asked.headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"
        assert {"x-amz-security-token", "x-amz-request-payer"}.isdisjoint(asked.headers)


def test_error_text_omits_urls_and_rust_structures() -> None:
    text = (
        f"Generic HTTP error: Error performing GET {SECRET_URL} in 3.6s, after 7 retries, max_retries: 7 "
        f"- HTTP error: error sending request\n\nDebug source:\nurl: {SECRET_URL}\n"
        'error: "failed to lookup address information"'
    )
    said = str(to_transient_error(Exception(text)))
    assert said == "Generic HTTP error: HTTP error: error sending request (failed to lookup address information)"


def test_status_and_range_are_parsed_from_the_error_text() -> None:
    refused = to_transient_error(
        Exception(f"Error performing GET {SECRET_URL} in 1ms - Server returned non-2xx status code: 503 X: hi")
    )
    assert isinstance(refused, RefusedError)
    assert (refused.status, refused.body) == (503, "hi")
    other = to_transient_error(Exception("Generic S3 error: Requested 0..7, got 0..1000"))
    assert isinstance(other, UnexpectedRangeError)
    assert other.requested == (0, 7)
    assert type(to_transient_error(Exception("anything else"))) is TransientError
