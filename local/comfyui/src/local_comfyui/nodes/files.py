"""Shared parts of nodes that load a file: validation of its name, its fingerprint, opening it."""

import hashlib
from pathlib import Path

from local_comfyui.folders import Folders, find_annotated
from local_comfyui.json_types import JsonObject
from local_comfyui.nodes.registry import Call, Check, Fingerprint

KINDS = {"image": "image", "file": "video", "audio": "audio"}
"""The kind of file that an input names, for messages."""


def complaint_about(name: str) -> Check:
    """Rejects an input that does not name a file in its folder."""

    def check(inputs: JsonObject, folders: Folders) -> str | None:
        value = inputs.get(name)
        if isinstance(value, str) and find_annotated(folders, value) is not None:
            return None
        return f"Invalid {KINDS[name]} file: {value}"

    return check


def digest_of(name: str) -> Fingerprint:
    """Changes with the content of the file."""

    def digest(inputs: JsonObject, folders: Folders) -> str | None:
        value = inputs.get(name)
        path = find_annotated(folders, value) if isinstance(value, str) else None
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # It was deleted meanwhile. The node itself reports that.
            return None

    return digest


def named_file(call: Call, name: str) -> Path:
    """The file that input `name` names. Raises `FileNotFoundError`."""
    value = call.text(name)
    path = find_annotated(call.around.folders, value)
    if path is None:
        raise FileNotFoundError(f"Invalid {KINDS[name]} file: {value}")
    return path
