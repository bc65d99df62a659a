"""Settings from the environment: defaults, required variables, and errors that name the variable."""

from collections.abc import Callable
from pathlib import Path

import pytest

from worker_gpu.models.errors import ModelError
from worker_gpu.models.settings import HUB, MIB, Credentials, ModelSettings, read_model_settings

BUCKET = {
    "MODELS_BUCKET": "models",
    "MODELS_ENDPOINT_URL": "https://account.r2.example/",
    "MODELS_ACCESS_KEY_ID": "id",
    "MODELS_SECRET_ACCESS_KEY": "the-secret",
}


def nothing_mounted(_: Path) -> bool:
    return False


def mounted(*places: str) -> Callable[[Path], bool]:
    return lambda path: str(path) in places


def read(env: dict[str, str], is_mount: Callable[[Path], bool] = nothing_mounted) -> ModelSettings:
    return read_model_settings(env, 2, is_mount)


def test_empty_environment_disables_models() -> None:
    settings = read({"COMFYUI_PATH": "/comfyui"})
    assert not settings.enabled
    assert settings.folder == Path("/comfyui/models")
    assert (settings.hub, settings.hub_token, settings.volume) == (HUB, None, None)


def test_bucket_needs_four_variables_and_accepts_a_prefix() -> None:
    settings = read({**BUCKET, "MODELS_PREFIX": "/team/a/", "MODELS_DIR": "/data/models"})
    assert settings.enabled
    assert settings.bucket is not None
    assert (settings.bucket.endpoint, settings.bucket.prefix) == ("https://account.r2.example", "team/a/")
    assert settings.folder == Path("/data/models")
    assert "the-secret" not in repr(settings)


def test_manifest_file_alone_enables_models(tmp_path: Path) -> None:
    assert read({"MODELS_MANIFEST": str(tmp_path / "m.json")}).enabled


@pytest.mark.parametrize(("cpus", "most"), [(1, 16), (2, 16), (4, 32), (128, 64)])
def test_connections_scale_with_cpus(cpus: int, most: int) -> None:
    assert read_model_settings({}, cpus, nothing_mounted).connections == most


def test_numbers_are_parsed() -> None:
    settings = read({"MODELS_LANES": "7", "MODELS_MIN_FREE_MB": "0"})
    assert (settings.connections, settings.min_free_bytes) == (7, 0)
    assert read({"MODELS_MIN_FREE_MB": "10"}).min_free_bytes == 10 * MIB


@pytest.mark.parametrize("lacking", [name for name in BUCKET if name != "MODELS_BUCKET"])
def test_incomplete_bucket_error_names_the_missing_variables(lacking: str) -> None:
    with pytest.raises(ModelError, match=lacking) as raised:
        read({name: value for name, value in BUCKET.items() if name != lacking})
    assert raised.value.code == "bad_setting"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELS_LANES", "0"),
        ("MODELS_LANES", "many"),
        ("MODELS_LANES", "257"),
        ("MODELS_LANES", "-1"),
        ("MODELS_MIN_FREE_MB", "1.5"),
        ("MODELS_VOLUME_WRITE", "perhaps"),
        ("HF_ENDPOINT", "huggingface.co"),
        ("HF_ENDPOINT", "file:///etc"),
        ("HF_ENDPOINT", "https://user:password@hub.example"),
        ("MODELS_ENDPOINT_URL", "https://r2.example?x=1"),
        ("MODELS_ENDPOINT_URL", "r2.example"),
        ("MODELS_ENDPOINT_URL", "https://r2.example#x"),
        ("MODELS_ENDPOINT_URL", "https://host:abc"),
        ("MODELS_ENDPOINT_URL", "https://account..r2.example"),
        ("MODELS_ENDPOINT_URL", "https://[::1"),
        ("MODELS_ENDPOINT_URL", "https://<account>.r2.example"),
        ("MODELS_ACCESS_KEY_ID", "password…"),
        ("MODELS_SECRET_ACCESS_KEY", "password\udcff"),
        ("MODELS_SECRET_ACCESS_KEY", "pass\r\nword"),
        ("MODELS_ACCESS_KEY_ID", " \n"),
        ("MODELS_REGION", "région"),
        ("MODELS_BUCKET", "a\nb"),
        ("MODELS_BUCKET", "models<"),
        ("MODELS_BUCKET", "my models"),
        ("MODELS_ENDPOINT_URL", "https://r2.example/<path>"),
        ("MODELS_ENDPOINT_URL", "https://r2.example/a path"),
        ("HF_ENDPOINT", "https://hub.example/{path}"),
        ("MODELS_PREFIX", "\udcff"),
        ("MODELS_PREFIX", "team//a"),
        ("MODELS_PREFIX", "./team"),
        ("MODELS_PREFIX", "team/../a"),
        ("HF_TOKEN", "hf_password…"),
        ("MODELS_LANES", "1" * 5000),
        ("MODELS_LANES", "٣"),
    ],
)
def test_invalid_value_error_names_the_variable_but_not_the_value(name: str, value: str) -> None:
    with pytest.raises(ModelError, match=name) as raised:
        read({**BUCKET, name: value})
    assert raised.value.code == "bad_setting"
    assert "password" not in raised.value.message


@pytest.mark.parametrize(
    ("places", "volume"),
    [
        ((), None),
        (("/runpod-volume",), "/runpod-volume/models"),
        (("/workspace",), "/workspace/models"),
        (("/workspace", "/runpod-volume"), "/runpod-volume/models"),
    ],
)
def test_mounted_volume_is_used(places: tuple[str, ...], volume: str | None) -> None:
    assert read({}, mounted(*places)).volume == (Path(volume) if volume else None)


def test_plain_folder_at_the_volume_path_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_gpu.models.settings.VOLUMES", (tmp_path,))
    assert read_model_settings({}).volume is None


def test_models_volume_selects_or_disables_the_volume() -> None:
    everywhere = mounted("/runpod-volume", "/workspace")
    assert read({"MODELS_VOLUME": "/mnt/shared/models"}, everywhere).volume == Path("/mnt/shared/models")
    assert read({"MODELS_VOLUME": ""}, everywhere).volume is None


def test_white_space_around_a_key_is_dropped() -> None:
    settings = read({name: f" {value}\n" for name, value in BUCKET.items()})
    assert settings == read(BUCKET)
    assert settings.bucket is not None
    assert settings.bucket.credentials == Credentials("id", "the-secret")


def test_hugging_face_variables_are_supported() -> None:
    settings = read({"HF_TOKEN": " hf_x\n", "HF_ENDPOINT": "https://mirror.example/", "HF_HOME": "/data/hf"})
    assert (settings.hub, settings.hub_token) == ("https://mirror.example", "hf_x")
    # The last one is RunPod's cache of models.
    assert settings.hub_caches == (Path("/data/hf/hub"), Path("/runpod-volume/huggingface-cache/hub"))
    assert read({"HF_HOME": "/a", "HF_HUB_CACHE": "/b"}).hub_caches[0] == Path("/b")
    assert "hf_x" not in repr(settings)
