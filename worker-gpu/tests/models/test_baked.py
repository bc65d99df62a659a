"""Models in an image: a worker knows them at start without hashing them, but hashes files that were copied there
later."""

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from models.faulty_store import FaultyStore
from models.pulling import pull
from models.samples import CHUNK, content, manifest_bytes, model, settings, silent
from worker_gpu.models import sync as sync_module
from worker_gpu.models.cli.commands import main
from worker_gpu.models.disk.file_index import read_index
from worker_gpu.models.manifest.manifest import ModelFile
from worker_gpu.models.sync import ModelSync

PATH = "checkpoints/baked.safetensors"
BODY = content(CHUNK * 3, 1)
SECOND_NS = 1_000_000_000


def layer_of(folder: Path, image: Path) -> None:
    """Copy a folder as an image layer does: with other inodes, and times in whole seconds."""
    shutil.copytree(folder, image)
    for path in image.rglob("*"):
        seconds = path.stat().st_mtime_ns // SECOND_NS * SECOND_NS
        os.utime(path, ns=(seconds, seconds))


@pytest.fixture
def image(store: FaultyStore, tmp_path: Path) -> Path:
    """The models folder of an image that was built with `models pull --baked`."""
    return build(store, tmp_path, "--baked")


def env_of(store: FaultyStore, tmp_path: Path) -> dict[str, str]:
    return {
        "MODELS_DIR": str(tmp_path / "build"),
        "MODELS_BUCKET": "models",
        "MODELS_ENDPOINT_URL": store.url,
        "MODELS_ACCESS_KEY_ID": "local",
        "MODELS_SECRET_ACCESS_KEY": "local-secret",
        "MODELS_MIN_FREE_MB": "0",
        "MODELS_VOLUME": "",
    }


def build(store: FaultyStore, tmp_path: Path, *flags: str) -> Path:
    store.objects[PATH] = BODY
    store.objects["manifest.json"] = manifest_bytes(model(PATH, BODY, groups=["boot"]))
    built = tmp_path / "build"
    assert main(["pull", "--group", "boot", *flags], env_of(store, tmp_path)) == 0
    # The test needs a time with a fraction of a second, which a build may not have by chance.
    os.utime(built / PATH, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    index = built / ".sync" / "index.jsonl"
    (held,) = read_index(index)[0].values()
    index.write_bytes(replace(held, mtime_ns=(built / PATH).stat().st_mtime_ns).to_line())
    layer_of(built, tmp_path / "image" / "models")
    return tmp_path / "image"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed."""
    seen: list[Path] = []
    real = sync_module.is_intact

    def noted(path: Path, file: ModelFile, stop: threading.Event) -> bool:
        seen.append(path)
        return real(path, file, stop)

    monkeypatch.setattr(sync_module, "is_intact", noted)
    return seen


def test_baked_model_is_not_hashed_at_start(store: FaultyStore, image: Path, hashed: list[Path]) -> None:
    asked = len(store.of(PATH))
    assert pull(settings(image, store.bucket)).errors == []
    assert (hashed, len(store.of(PATH))) == ([], asked)


def test_copied_model_that_is_not_baked_is_hashed(store: FaultyStore, tmp_path: Path, hashed: list[Path]) -> None:
    image = build(store, tmp_path)
    assert pull(settings(image, store.bucket)).errors == []
    assert hashed == [image / "models" / PATH]


@pytest.mark.parametrize("when", [1_700_000_001_000_000_000, 1_700_000_000_123_456_788, 1_699_999_999_000_000_000])
def test_model_that_replaces_a_baked_one_is_hashed(
    store: FaultyStore, image: Path, hashed: list[Path], when: int
) -> None:
    placed = image / "models" / PATH
    placed.write_bytes(bytes(len(BODY)))
    os.utime(placed, ns=(when, when))
    assert pull(settings(image, store.bucket)).errors == []
    assert hashed == [placed]
    assert placed.read_bytes() == BODY


def test_newer_manifest_replaces_a_baked_model(store: FaultyStore, image: Path) -> None:
    other = content(CHUNK * 3, 2)
    store.objects[PATH] = other
    store.objects["manifest.json"] = manifest_bytes(model(PATH, other))
    assert pull(settings(image, store.bucket)).fetched == [PATH]
    assert (image / "models" / PATH).read_bytes() == other
    sync = ModelSync(settings(image, store.bucket), silent())
    sync.open()
    assert [held.baked for held in sync.tree.known_files()] == [False]
    sync.close()


@pytest.mark.parametrize("group", ["bot", ""])
def test_pull_of_an_unknown_group_fails(
    store: FaultyStore, tmp_path: Path, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store.objects["manifest.json"] = manifest_bytes(model(PATH, BODY, groups=["boot"]))
    assert main(["pull", "--baked", "--group", group], env_of(store, tmp_path)) == 1
    assert capsys.readouterr().out == f"model_unknown: the manifest has no group {group!r}; its groups are ['boot']\n"


def test_pull_without_a_bucket_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "--baked"], {"MODELS_DIR": str(tmp_path / "build"), "MODELS_VOLUME": ""}) == 2
    assert capsys.readouterr().out.startswith("bad_setting: set MODELS_BUCKET")
    assert not (tmp_path / "build").exists()


def test_baked_model_is_never_evicted(store: FaultyStore, image: Path) -> None:
    body = content(CHUNK, 3)
    store.objects["loras/new.safetensors"] = body
    store.objects["manifest.json"] = manifest_bytes(model(PATH, BODY), model("loras/new.safetensors", body))
    full = replace(settings(image, store.bucket), min_free_bytes=2**60)
    assert pull(full, only=["loras/new.safetensors"]).codes == ["disk_full"]
    assert (image / "models" / PATH).exists()
