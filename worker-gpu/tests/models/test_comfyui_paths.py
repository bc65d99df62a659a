"""The file of extra model paths lists exactly the models folders that ComfyUI does not find by default."""

import io
from pathlib import Path

import pytest
import yaml

from worker_gpu.log import Log
from worker_gpu.models.comfyui_paths import CATEGORIES, PATHS_FLAG, extra_arguments, paths_yaml, with_model_folders
from worker_gpu.models.settings import ModelSettings
from worker_gpu.settings import read_settings


def as_comfyui_reads(file: Path) -> dict[str, list[str]]:
    """Parse the file as ComfyUI does: folders by category, in order."""
    found: dict[str, list[str]] = {}
    for section in yaml.safe_load(file.read_text("utf-8")).values():
        base = section.pop("base_path")
        for category, folders in section.items():
            found.setdefault(category, []).extend(str(Path(base) / folder) for folder in folders.split("\n") if folder)
    return found


def read_back(arguments: tuple[str, ...]) -> dict[str, list[str]]:
    flag, file = arguments
    assert flag == PATHS_FLAG
    return as_comfyui_reads(Path(file))


def test_paths_file_lists_the_volume_and_folders_of_custom_nodes(tmp_path: Path) -> None:
    volume = tmp_path / "a: volume #1 'é'"
    for name in ("loras", "ipadapter", ".sync"):
        (volume / name).mkdir(parents=True)
    (volume / "notes.txt").write_text("")
    own = tmp_path / "comfyui" / "models"
    found = read_back(extra_arguments(ModelSettings(own, volume=volume), own.parent, (), tmp_path / "data"))
    assert found["loras"] == [str(volume / "loras")]
    assert found["ipadapter"] == [str(volume / "ipadapter")]
    assert found["diffusion_models"] == [str(volume / "diffusion_models"), str(volume / "unet")]
    assert found["text_encoders"] == [str(volume / "clip"), str(volume / "text_encoders")]
    assert set(found) == {*CATEGORIES, "ipadapter"} - {"unet", "clip", "t2i_adapter"}


def test_paths_file_lists_the_models_folder_before_the_volume(tmp_path: Path) -> None:
    volume, folder = tmp_path / "volume", tmp_path / "models"
    volume.mkdir()
    found = read_back(extra_arguments(ModelSettings(folder, volume=volume), tmp_path / "comfyui", (), tmp_path))
    assert found["vae"] == [str(folder / "vae"), str(volume / "vae")]


@pytest.mark.parametrize(
    "given",
    [
        ("--models-directory", "{}/models"),
        ("--cpu", "--models-directory", "elsewhere", "--models-directory", "{}/models"),
        ("--base-directory", "{}"),
    ],
)
def test_paths_file_omits_comfyuis_own_models_folder(tmp_path: Path, given: tuple[str, ...]) -> None:
    flags = tuple(one.format(tmp_path) for one in given)
    gone = ModelSettings(tmp_path / "models", volume=tmp_path / "no-volume-here")
    assert extra_arguments(gone, tmp_path / "comfyui", flags, tmp_path) == ()
    same = ModelSettings(tmp_path / "models", volume=tmp_path / "models")
    assert extra_arguments(same, tmp_path / "comfyui", flags, tmp_path) == ()


def test_paths_file_lists_the_volume_without_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "comfyui").mkdir()
    (tmp_path / "comfyui" / "main.py").write_text("")
    (tmp_path / "volume" / "loras").mkdir(parents=True)
    env = {
        "COMFYUI_PATH": str(tmp_path / "comfyui"),
        "COMFYUI_ARGS": "--cpu",
        "WORKER_DATA_DIR": str(tmp_path / "data"),
        "MODELS_VOLUME": str(tmp_path / "volume"),
    }
    settings = with_model_folders(read_settings(env), env, Log(io.StringIO()))
    assert settings.comfyui_args[0] == "--cpu"
    assert read_back(settings.comfyui_args[1:])["loras"] == [str(tmp_path / "volume" / "loras")]
    wrong = {**env, "MODELS_LANES": "many"}
    assert with_model_folders(read_settings(wrong), wrong, Log(io.StringIO())).comfyui_args == ("--cpu",)


def test_folder_name_cannot_add_a_line_to_the_paths_file(tmp_path: Path) -> None:
    (tmp_path / 'x": y').mkdir()
    (tmp_path / "two\nlines").mkdir()
    file = tmp_path / "file.yaml"
    file.write_text(paths_yaml([tmp_path]), "utf-8")
    found = as_comfyui_reads(file)
    assert found['x": y'] == [str(tmp_path / 'x": y')]
    assert not [name for name in found if name.startswith("two") or name == "lines"]


def test_paths_file_omits_code_folders_and_reserved_words(tmp_path: Path) -> None:
    for name in ("custom_nodes/pack", "Custom_Nodes", "datasets", "base_path", "is_default", "ipadapter"):
        (tmp_path / "volume" / name).mkdir(parents=True)
    (tmp_path / "volume" / "custom_nodes" / "pack" / "__init__.py").write_text("raise SystemExit")
    file = tmp_path / "file.yaml"
    file.write_text(paths_yaml([tmp_path / "volume", tmp_path / "other"]), "utf-8")
    (first, second) = yaml.safe_load(file.read_text("utf-8")).values()
    assert set(first) - set(second) == {"ipadapter"}
    assert first["base_path"] == str(tmp_path / "volume")
