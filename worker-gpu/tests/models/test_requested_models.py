"""Which models a workflow names: loaders of ComfyUI and of custom nodes, embeddings in texts, and similar values."""

import pytest

from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.models.manifest.manifest import Manifest, ModelFile
from worker_gpu.models.manifest.requested_models import find_requested

MANIFEST = Manifest.of(
    [
        ModelFile(path, 1, "0" * 64)
        for path in (
            "checkpoints/a.safetensors",
            "checkpoints/sub/b.safetensors",
            "loras/a.safetensors",
            "unet/flux.safetensors",
            "diffusion_models/flux.safetensors",
            "text_encoders/t5.safetensors",
            "ipadapter/face.bin",
            "embeddings/easy.safetensors",
            "embeddings/old.pt",
            "loras/easy.safetensors",
        )
    ]
)


def named(**inputs: Json) -> tuple[list[str], list[str]]:
    graph: dict[str, JsonObject] = {"1": {"class_type": "X", "inputs": {**inputs}}}
    found = find_requested(graph, MANIFEST)
    return sorted(file.path for file in found.files), list(found.unknown)


NAMES: dict[str, tuple[dict[str, Json], list[str]]] = {
    "the loader's own category": ({"ckpt_name": "a.safetensors"}, ["checkpoints/a.safetensors"]),
    "another loader's": ({"lora_name": "a.safetensors"}, ["loras/a.safetensors"]),
    "every category for an input without one": (
        {"model_name": "a.safetensors"},
        ["checkpoints/a.safetensors", "loras/a.safetensors"],
    ),
    "a folder below the category": ({"ckpt_name": "sub/b.safetensors"}, ["checkpoints/sub/b.safetensors"]),
    "written on Windows": ({"ckpt_name": "sub\\b.safetensors"}, ["checkpoints/sub/b.safetensors"]),
    "two categories that ComfyUI treats as one": (
        {"unet_name": "flux.safetensors"},
        ["diffusion_models/flux.safetensors", "unet/flux.safetensors"],
    ),
    "another category than the input's, if only that has the file": (
        {"vae_name": "t5.safetensors"},
        ["text_encoders/t5.safetensors"],
    ),
    "a list of a custom node": (
        {"stack": [["on", "a.safetensors", 1.0]]},
        ["checkpoints/a.safetensors", "loras/a.safetensors"],
    ),
    "an object of a custom node": ({"lora_1": {"on": True, "lora_name": "a.safetensors"}}, ["loras/a.safetensors"]),
    "an embedding in a text": ({"text": "a (embedding:easy:1.2), cat"}, ["embeddings/easy.safetensors"]),
    "an embedding at the end of a sentence": ({"text": "embedding:easy."}, ["embeddings/easy.safetensors"]),
    "an embedding with its suffix": ({"text": "x embedding:old.pt y"}, ["embeddings/old.pt"]),
    "a link is not a name": ({"ckpt_name": ["4", 0]}, []),
    "nothing": ({"text": "a.safetensors is a file", "seed": 1, "flag": True, "none": None}, []),
}


@pytest.mark.parametrize(("inputs", "paths"), NAMES.values(), ids=NAMES.keys())
def test_workflow_names_models(inputs: dict[str, Json], paths: list[str]) -> None:
    assert named(**inputs)[0] == paths


@pytest.mark.parametrize("value", ["new.safetensors", "sub/new.GGUF", "x.ckpt"])
def test_value_like_an_unlisted_model_is_unknown(value: str) -> None:
    assert named(ckpt_name=value) == ([], [value])


@pytest.mark.parametrize("value", ["a photo.png", "two\nlines.safetensors", "", "safetensors", "embedding:unknown"])
def test_value_unlike_a_model_is_ignored(value: str) -> None:
    assert named(text=value) == ([], [])


def test_malformed_workflow_names_nothing() -> None:
    graph: dict[str, JsonObject] = {"1": {}, "2": {"inputs": ["a.safetensors"]}, "3": {"inputs": "a.safetensors"}}
    assert find_requested(graph, MANIFEST).files == ()
