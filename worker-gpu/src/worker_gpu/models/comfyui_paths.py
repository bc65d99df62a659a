"""Lets ComfyUI find models in the worker's folder and on the network volume, by an `extra_model_paths` file.

Manifest files on the volume are linked into the worker's folder. This file is for models that users put on the volume
themselves, and for a worker's folder outside ComfyUI.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from worker_gpu.log import Log
from worker_gpu.models.errors import ModelError
from worker_gpu.models.manifest.model_path import CODE_FOLDERS
from worker_gpu.models.settings import ModelSettings, read_model_settings
from worker_gpu.settings import Settings

PATHS_FLAG = "--extra-model-paths-config"
PATHS_FILE = "extra_model_paths.yaml"
CATEGORIES = (
    *(
        "audio_encoders",
        "background_removal",
        "checkpoints",
        "classifiers",
        "clip",
        "clip_vision",
        "configs",
        "controlnet",
    ),
    *(
        "detection",
        "diffusers",
        "diffusion_models",
        "embeddings",
        "fonts",
        "frame_interpolation",
        "geometry_estimation",
    ),
    *("gligen", "hypernetworks", "latent_upscale_models", "loras", "model_patches", "optical_flow", "photomaker"),
    *("style_models", "t2i_adapter", "text_encoders", "unet", "upscale_models", "vae", "vae_approx"),
)
"""ComfyUI's model categories (reference/comfyui.md section 7), without `custom_nodes` and `datasets`, which are not
models. Categories of custom nodes are found from the folders that exist."""
_NOT_MODELS = CODE_FOLDERS | {"datasets", "base_path", "is_default"}
"""Folders that are never a category: ComfyUI imports code from the first, and the last two are keywords of the file
format (ComfyUI, utils/extra_config.py)."""
_CATEGORY_ALIASES = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
"""Folders that ComfyUI treats as another category."""


def with_model_folders(settings: Settings, env: Mapping[str, str], log: Log) -> Settings:
    """`settings` with the flags that let a ComfyUI started by the worker find the models folder and the network
    volume."""
    if settings.comfyui_path is None:
        return settings
    try:
        models = read_model_settings(env)
        added = extra_arguments(models, settings.comfyui_path, settings.comfyui_args, settings.data_dir)
    except (ModelError, OSError) as error:
        log.error("extra model paths not set", cause=str(error))
        return settings
    return replace(settings, comfyui_args=(*settings.comfyui_args, *added))


def paths_yaml(folders: Sequence[Path]) -> str:
    """The text of the file. Earlier folders take precedence. Strings are quoted as JSON, which is valid YAML."""
    sections: list[str] = []
    for number, folder in enumerate(folders):
        names_of: dict[str, list[str]] = {}
        for name in (*CATEGORIES, *_extra_categories(folder)):
            names_of.setdefault(_CATEGORY_ALIASES.get(name, name), []).append(name)
        lines = [f"  {json.dumps(category)}: {json.dumps(chr(10).join(names))}" for category, names in names_of.items()]
        sections.append("\n".join([f"folder_{number}:", f"  base_path: {json.dumps(str(folder))}", *lines, ""]))
    return "\n".join(sections)


def extra_arguments(settings: ModelSettings, comfyui: Path, given: Sequence[str], data: Path) -> tuple[str, ...]:
    """The flags to add to `given` so that the ComfyUI in `comfyui` finds every models folder; none if it already does.
    Writes the file to `data`. Raises `OSError`."""
    own = _default_folder(comfyui, given)
    folders = [settings.folder] if settings.folder != own else []
    if settings.volume is not None and settings.volume != own and settings.volume.is_dir():
        folders.append(settings.volume)
    if not folders:
        return ()
    data.mkdir(parents=True, exist_ok=True)
    file = data / PATHS_FILE
    file.write_text(paths_yaml(folders), "utf-8")
    return (PATHS_FLAG, str(file))


def _extra_categories(folder: Path) -> list[str]:
    """Folders that may be categories of custom nodes."""
    try:
        found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return []
    return [name for name in found if _is_category_name(name)]


def _is_category_name(name: str) -> bool:
    return name not in CATEGORIES and name.casefold() not in _NOT_MODELS and name[0] != "." and name.isprintable()


def _default_folder(comfyui: Path, given: Sequence[str]) -> Path:
    """The folder where this ComfyUI looks by default. The last value of a repeated flag counts."""
    values = dict(pairwise(given))
    for flag, below in (("--models-directory", ""), ("--base-directory", "models")):
        if flag in values:
            return (comfyui / values[flag] / below).absolute()
    return (comfyui / "models").absolute()
