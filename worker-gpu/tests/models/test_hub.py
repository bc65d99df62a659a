"""Models that stay on Hugging Face: entries from the hub's headers, downloads with HF_TOKEN, and errors that say
where to get access. The hub is a fake; the bucket is R2's local one."""

import hashlib
import io
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from models.faulty_store import Asked, Fault, FaultyStore, Status
from models.local_r2 import r2
from models.pulling import pull
from models.samples import CHUNK, QUICK, content, manifest_bytes, model, settings
from worker_gpu.models.cli.commands import main
from worker_gpu.models.download.bucket import BucketClient
from worker_gpu.models.manifest.manifest import MANIFEST_KEY, FromHub, Manifest
from worker_gpu.models.settings import Bucket

BODY = content(CHUNK * 3 + 5, 8)
SHA256 = hashlib.sha256(BODY).hexdigest()
FILE = "lab/flux/resolve/main/dev/flux.safetensors"
PATH = "diffusion_models/flux.safetensors"
LFS = {"X-Linked-Size": str(len(BODY)), "X-Linked-Etag": f'"{SHA256}"'}


@pytest.fixture(scope="module")
def endpoint() -> Generator[Bucket]:
    with r2() as bucket:
        yield bucket


@dataclass
class Push:
    """Runs `models push --hf` with a bucket of its own."""

    bucket: Bucket
    hub: FaultyStore
    folder: Path
    token: str = "hf_secret"

    def run(self, *argv: str) -> tuple[int, str]:
        out = io.StringIO()
        env = {
            "MODELS_DIR": str(self.folder),
            "MODELS_BUCKET": self.bucket.name,
            "MODELS_PREFIX": self.bucket.prefix,
            "MODELS_ENDPOINT_URL": self.bucket.endpoint,
            "MODELS_ACCESS_KEY_ID": self.bucket.credentials.key_id,
            "MODELS_SECRET_ACCESS_KEY": self.bucket.credentials.secret,
            "MODELS_MIN_FREE_MB": "0",
            "MODELS_VOLUME": "",
            "HF_ENDPOINT": self.hub.url,
            "HF_TOKEN": self.token,
        }
        return main(list(argv), env, out), out.getvalue()

    def manifest(self) -> Manifest:
        store = BucketClient(self.bucket, QUICK)
        answer = store.get(MANIFEST_KEY)
        assert answer is not None
        return Manifest.parse(answer.body)


@pytest.fixture
def push(endpoint: Bucket, store: FaultyStore, tmp_path: Path, request: pytest.FixtureRequest) -> Push:
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return Push(replace(endpoint, prefix=f"{name}/"), store, tmp_path / "models")


def test_hub_file_is_pushed_without_a_download_and_pulled_from_the_hub(push: Push) -> None:
    push.hub.objects["cdn/blob"] = BODY
    elsewhere = push.hub.url.replace("127.0.0.1", "localhost")

    def hub(asked: Asked) -> Fault | None:
        return Status(302, b"", {**LFS, "Location": f"{elsewhere}/cdn/blob"}) if asked.key == FILE else None

    push.hub.script = hub
    argv = ("push", "--hf", "lab/flux:dev/flux.safetensors", "--to", PATH, "--group", "boot")
    assert push.run(*argv) == (0, f"{PATH}: stays at its source\nmanifest.json: 1 files\n")
    assert push.hub.of("cdn/blob") == []
    (entry,) = push.manifest().files.values()
    assert (entry.size, entry.sha256, entry.groups, entry.chunks) == (len(BODY), SHA256, ("boot",), ())
    assert entry.source == FromHub("lab/flux", "dev/flux.safetensors", "main")
    assert push.run("pull") == (0, "1 of 1 files present, 0 of them before\n")
    assert (push.folder / PATH).read_bytes() == BODY
    assert {asked.headers.get("authorization") for asked in push.hub.of(FILE)} == {"Bearer hf_secret"}
    assert {asked.headers.get("authorization") for asked in push.hub.of("cdn/blob")} == {None}


def test_renamed_repository_is_followed_within_the_hub(push: Push) -> None:
    new = "new-lab/flux/resolve/v1/flux.safetensors"
    push.hub.objects[new] = b""

    def hub(asked: Asked) -> Fault | None:
        if asked.key == new:
            return Status(302, b"", {**LFS, "Location": "https://cdn.example/blob"})
        return Status(307, b"", {"Location": f"/{new}"})

    push.hub.script = hub
    assert push.run("push", "--hf", "lab/flux:flux.safetensors@v1", "--to", PATH)[0] == 0
    assert push.manifest().files[PATH].sha256 == SHA256


def test_hub_file_without_a_hash_is_refused(push: Push) -> None:
    push.hub.objects["lab/flux/resolve/main/model_index.json"] = b"{}"
    code, said = push.run("push", "--hf", "lab/flux:model_index.json", "--to", "configs/x.json")
    assert code == 2
    assert said == "bad_setting: lab/flux does not provide the SHA-256 of model_index.json; push a copy instead\n"


@pytest.mark.parametrize(
    "argv",
    [
        ("push", "--hf", "lab/flux", "--to", PATH),
        ("push", "--hf", "lab/flux:x.safetensors"),
        ("push", "--hf", "lab/flux:x.ckpt", "--to", "checkpoints/x.ckpt"),
        ("push", "--hf", "lab/flux:x.safetensors", "--to", "../x.safetensors"),
        ("push", "--url", "https://x.example/x.safetensors", "--to", PATH, "--size", "5", "--sha256", "abc"),
    ],
)
def test_wrong_argument_is_refused_without_a_request(push: Push, argv: tuple[str, ...]) -> None:
    code, said = push.run(*argv)
    assert (code, said.partition(":")[0]) == (2, "bad_setting")
    assert push.hub.asked == []


REFUSALS: dict[str, tuple[Status, str, str, tuple[str, ...]]] = {
    "gated, no token": (Status(401, b"", {"X-Error-Code": "GatedRepo"}), "", "model_denied", ("gated", "HF_TOKEN")),
    "gated, the token's account has not accepted": (
        Status(403, b"", {"X-Error-Code": "GatedRepo"}),
        "hf_secret",
        "model_denied",
        ("gated", "account of HF_TOKEN"),
    ),
    "refused without a reason": (Status(403), "hf_secret", "model_denied", ("gated",)),
    "private or unknown, no token": (
        Status(401, b"", {"X-Error-Code": "RepoNotFound"}),
        "",
        "model_denied",
        ("private", "HF_TOKEN"),
    ),
    "no such file": (Status(404, b"", {"X-Error-Code": "EntryNotFound"}), "", "model_missing", ("no file", "main")),
    "no such revision": (Status(404, b"", {"X-Error-Code": "RevisionNotFound"}), "", "model_missing", ("no file",)),
}


@pytest.mark.parametrize(("answer", "token", "code", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_gated_repository_error_names_its_page(
    push: Push, tmp_path: Path, answer: Status, token: str, code: str, words: tuple[str, ...]
) -> None:
    push.hub.script = lambda asked: answer if asked.key.startswith("lab/") else None
    push.token = token
    exit_code, said = push.run("push", "--hf", "lab/flux:flux.safetensors", "--to", PATH)
    assert exit_code == 1
    file = model(PATH, BODY, source=FromHub("lab/flux", "flux.safetensors"), chunked=False)
    push.hub.objects["manifest.json"] = manifest_bytes(file)
    chosen = replace(settings(tmp_path / "w", push.hub.bucket), hub=push.hub.url, hub_token=token or None)
    (fetched,) = pull(chosen).errors
    assert (fetched.code, fetched.path) == (code, PATH)
    for output in (said, str(fetched)):
        assert output.startswith(f"{code}: {PATH}")
        assert f"{push.hub.url}/lab/flux" in output
        assert "hf_secret" not in output
        assert all(word in output for word in words), output


def test_repository_invisible_to_the_token_is_missing(push: Push) -> None:
    push.hub.script = lambda _: Status(404, b"", {"X-Error-Code": "RepoNotFound"})
    code, said = push.run("push", "--hf", "lab/flux:flux.safetensors", "--to", PATH)
    assert code == 1
    assert said == f"model_missing: {PATH}: lab/flux on Hugging Face does not exist, or HF_TOKEN may not see it\n"


def test_unreachable_hub_error_names_the_repository(push: Push) -> None:
    code, said = Push(push.bucket, FaultyStore(), push.folder).run(
        "push", "--hf", "lab/flux:x.safetensors", "--to", PATH
    )
    assert (code, said.partition(":")[0]) == (1, "store_unreachable")
    assert "lab/flux" in said


@pytest.mark.parametrize(
    "target",
    ["http://cdn.example/blob", "ftp://cdn.example/blob", "file:///etc/passwd", "https://[::1/x", "https://h:p/"],
)
def test_redirect_to_plain_http_is_not_followed(store: FaultyStore, tmp_path: Path, target: str) -> None:
    file = model(PATH, BODY, source=FromHub("lab/flux", "flux.safetensors"), chunked=False)
    store.objects["manifest.json"] = manifest_bytes(file)
    store.script = lambda asked: Status(302, b"", {"Location": target}) if asked.key.startswith("lab/") else None
    (error,) = pull(replace(settings(tmp_path, store.bucket), hub=store.url)).errors
    assert error.code == "model_denied"
    assert "not https" in error.message


def test_endless_redirect_fails(store: FaultyStore, tmp_path: Path) -> None:
    file = model(PATH, BODY, source=FromHub("lab/flux", "flux.safetensors"), chunked=False)
    store.objects["manifest.json"] = manifest_bytes(file)
    store.script = lambda asked: Status(302, b"", {"Location": "/lab/round"}) if asked.key.startswith("lab/") else None
    (error,) = pull(replace(settings(tmp_path, store.bucket), hub=store.url)).errors
    assert (error.code, "redirects" in error.message) == ("store_unreachable", True)


def test_expired_signed_url_is_requested_again(store: FaultyStore, tmp_path: Path) -> None:
    file = model(PATH, BODY, source=FromHub("lab/flux", "flux.safetensors"), chunked=False)
    store.objects.update({"manifest.json": manifest_bytes(file), "cdn/1": BODY, "cdn/2": BODY})

    def hub(asked: Asked) -> Fault | None:
        if asked.key.startswith("lab/"):
            return Status(302, b"", {"Location": f"/cdn/{1 + min(asked.number, 1)}"})
        # The URL works for the first request and for one chunk.
        return Status(403) if asked.key == "cdn/1" and asked.number > 1 else None

    store.script = hub
    chosen = replace(settings(tmp_path, store.bucket, connections=1), hub=store.url)
    assert pull(chosen).errors == []
    assert (tmp_path / "models" / PATH).read_bytes() == BODY
    # All chunks but the first, and the request that resolves redirects.
    assert sorted(asked.first for asked in store.of("cdn/2")[1:]) == [CHUNK, CHUNK * 2, CHUNK * 3]
