"""Stores with a private certificate authority, and stores with an untrusted certificate."""

import ssl
import subprocess
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import FaultyStore, faulty_store
from models.pulling import pull
from models.samples import CHUNK, QUICK, content, manifest_bytes, model, settings
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.manifest import FromUrl
from worker_gpu.models.settings import Bucket

PATH = "checkpoints/x.safetensors"
BODY = content(CHUNK * 3 + 7, 4)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key beside it."""
    file = tmp_path_factory.mktemp("tls") / "own.pem"
    kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    key = file.with_suffix(".key")
    subprocess.run(  # noqa: S603 -- fixed words and a folder of ours
        ["openssl", "req", *kind.split(), *names, "-keyout", str(key), "-out", str(file)],  # noqa: S607
        check=True,
        capture_output=True,
    )
    return file


@pytest.fixture
def secure(certificate: Path) -> Generator[FaultyStore]:
    """A store with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with faulty_store(context) as running:
        running.objects.update({PATH: BODY, "manifest.json": manifest_bytes(model(PATH, BODY))})
        yield running


def bucket_of(store: FaultyStore) -> Bucket:
    return replace(store.bucket, endpoint=f"https://localhost:{store.port}")


def test_pull_trusts_the_certificates_of_ssl_cert_file(
    secure: FaultyStore, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert pull(settings(tmp_path, bucket_of(secure))).errors == []
    assert (tmp_path / "models" / PATH).read_bytes() == BODY


def test_pull_from_a_url_trusts_the_certificates_of_ssl_cert_file(
    secure: FaultyStore, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    url = f"https://localhost:{secure.port}/web/x%20y?signature=a%2Fb"
    secure.objects["web/x%20y?signature=a%2Fb"] = BODY
    manifest = tmp_path / "m.json"
    manifest.write_bytes(manifest_bytes(model(PATH, BODY, source=FromUrl(url))))
    assert pull(replace(settings(tmp_path, None), manifest=manifest)).errors == []
    assert (tmp_path / "models" / PATH).read_bytes() == BODY


def test_pull_refuses_an_untrusted_certificate(secure: FaultyStore, tmp_path: Path) -> None:
    impatient = replace(QUICK, attempts=2)
    with pytest.raises(ModelError) as raised:
        pull(settings(tmp_path, bucket_of(secure), timeouts=impatient))
    assert raised.value.code == "store_unreachable"
    assert "UnknownIssuer" in raised.value.message
    assert secure.asked == []
