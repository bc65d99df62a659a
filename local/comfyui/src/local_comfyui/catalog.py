"""Content of `/object_info`: the recorded description of every node of this engine, with current file lists."""

import json
from collections.abc import Mapping
from importlib import resources

from local_comfyui.file_kinds import is_any_of
from local_comfyui.folders import Folders, list_input_files
from local_comfyui.json_types import Json, JsonObject, as_object, parse_json
from local_comfyui.nodes.registry import Implementation

DESCRIPTIONS = ("object_info.json", "object_info_0.33.json")
"""0.3.64 as recorded, plus from 0.33.0 audio (the first recording had no torchaudio) and newer nodes."""

FILE_LISTS = {
    "LoadImage": ("image", ("image",)),
    "LoadImageMask": ("image", ("image",)),
    "LoadVideo": ("file", ("video",)),
    "LoadAudio": ("audio", ("audio", "video")),
}
"""Nodes with an input that offers the input folder's files, of these kinds."""


class Catalog:
    """Descriptions by class name, and the names of ComfyUI's nodes that are not executed here."""

    def __init__(self, implementations: Mapping[str, Implementation]) -> None:
        described = {name: entry for file in DESCRIPTIONS for name, entry in as_object(parse_json(_read(file))).items()}
        self._entries = {name: as_object(described[name]) for name in described if name in implementations}
        self.implementations = implementations
        not_executed = parse_json(_read("not_executed.json"))
        self._not_executed = (
            frozenset(name for name in not_executed if isinstance(name, str))
            if isinstance(not_executed, list)
            else frozenset[str]()
        )

    def entry(self, class_type: str, folders: Folders) -> JsonObject | None:
        """Description of one node, with the current files of the input folder, or None."""
        entry = self._entries.get(class_type)
        if entry is None or class_type not in FILE_LISTS:
            return entry
        name, kinds = FILE_LISTS[class_type]
        files: list[Json] = [file for file in list_input_files(folders) if is_any_of(file, kinds)]
        live = as_object(parse_json(json.dumps(entry)))
        required = as_object(as_object(live["input"])["required"])
        declared, config = _spec(required[name])
        newer: JsonObject = {**config, "options": files}
        required[name] = ["COMBO", newer] if declared == "COMBO" else [files, config]
        return live

    def entries(self, folders: Folders) -> JsonObject:
        """Every description."""
        return {name: self.entry(name, folders) for name in self._entries}

    def is_output(self, class_type: str) -> bool:
        """Whether a node is an output node."""
        return self._entries[class_type]["output_node"] is True

    def advice(self, class_type: str) -> str:
        """Advice about a node that this engine lacks; empty for a name that ComfyUI does not know either."""
        if class_type not in self._not_executed:
            return ""
        return (
            f". {class_type} is a ComfyUI node, but local/comfyui is a development engine that only executes nodes"
            " without a model: point COMFYUI_URL or COMFYUI_PATH at a real ComfyUI to run this workflow."
        )


def _spec(spec: Json) -> tuple[Json, JsonObject]:
    if not isinstance(spec, list):
        return None, {}
    return spec[0], as_object(spec[1]) if len(spec) > 1 else {}


def _read(name: str) -> str:
    return resources.files("local_comfyui").joinpath(name).read_text(encoding="utf-8")
