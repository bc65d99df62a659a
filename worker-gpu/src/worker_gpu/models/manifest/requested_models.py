"""Which files of the manifest a workflow names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from worker_gpu.json_readers import Json, JsonObject, maybe_object, maybe_text
from worker_gpu.models.manifest.manifest import Manifest, ModelFile

CATEGORY_ALIASES: Mapping[str, frozenset[str]] = {
    name: group
    for group in (
        frozenset({"unet", "diffusion_models"}),
        frozenset({"clip", "text_encoders"}),
        frozenset({"controlnet", "t2i_adapter"}),
    )
    for name in group
}
"""Categories that ComfyUI treats as one (reference/comfyui.md section 7)."""
INPUT_CATEGORIES: Mapping[str, str] = {
    "ckpt_name": "checkpoints",
    "lora_name": "loras",
    "vae_name": "vae",
    "unet_name": "diffusion_models",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "audio_encoder_name": "audio_encoders",
}
"""The category of inputs of ComfyUI's own loaders. Others (`clip_name`, `model_name`) are used for several."""
MODEL_SUFFIXES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".onnx")

_EMBEDDING = re.compile(r"embedding:([^\s,:()\[\]]+)")


@dataclass(frozen=True)
class RequestedModels:
    """`files` are in the manifest. `unknown` are values that look like model files but are not in it. They may exist in
    ComfyUI's folders anyway."""

    files: tuple[ModelFile, ...]
    unknown: tuple[str, ...]


def find_requested(workflow: Mapping[str, JsonObject], manifest: Manifest) -> RequestedModels:
    """The models that literal inputs of `workflow` name. A name in several categories means all of them, unless the
    name of the input determines the category."""
    by_name: dict[str, list[ModelFile]] = {}
    for file in manifest.files.values():
        by_name.setdefault(file.name, []).append(file)
    files: dict[str, ModelFile] = {}
    unknown: dict[str, None] = {}
    for name, text in _input_strings(workflow):
        value = text.replace("\\", "/")
        found = _in_category(name, by_name.get(value, []))
        for embedding in _EMBEDDING.findall(value):
            found += _embedding(embedding.removesuffix("."), by_name)
        files.update({file.path: file for file in found})
        if not found and value.lower().endswith(MODEL_SUFFIXES) and "\n" not in value:
            unknown[value] = None
    return RequestedModels(tuple(files.values()), tuple(unknown))


def _in_category(name: str, found: list[ModelFile]) -> list[ModelFile]:
    category = INPUT_CATEGORIES.get(name)
    if category is None:
        return list(found)
    categories = CATEGORY_ALIASES.get(category, frozenset({category}))
    return [file for file in found if file.category in categories] or list(found)


def _embedding(name: str, by_name: Mapping[str, list[ModelFile]]) -> list[ModelFile]:
    names = (name, *(f"{name}{suffix}" for suffix in (".safetensors", ".pt", ".bin")))
    return [file for one in names for file in by_name.get(one, []) if file.category == "embeddings"]


def _input_strings(workflow: Mapping[str, JsonObject]) -> Iterator[tuple[str, str]]:
    for node in workflow.values():
        for name, value in maybe_object(node.get("inputs")).items():
            yield from _strings_in(name, value)


def _strings_in(name: str, value: Json) -> Iterator[tuple[str, str]]:
    """All strings of an input value: custom nodes keep model names in lists and objects too."""
    text = maybe_text(value)
    if text is not None:
        yield name, text
    elif isinstance(value, list):
        for item in value:
            yield from _strings_in(name, item)
    elif isinstance(value, dict):
        for inner, item in value.items():
            yield from _strings_in(inner, item)
