"""Names of the files of a direct job, as ComfyUI's editor and Windows write them.

The gateway has the same rules for its jobs (src/domain/workflow/input-name.ts, shaping/rename-paths.ts); both are held
against test/fixtures/file-names.json.
"""

import re
from collections.abc import Iterable, Mapping

from worker_gpu.json_readers import Json, JsonObject, maybe_object, maybe_text

MAX_NAME_BYTES = 255
MAX_PATH_CHARS = 1024

_ANNOTATION = re.compile(r" \[(input|output|temp)\]$")
"""The folder that ComfyUI reads from, at the end of a name."""
_ODD_ANNOTATION = re.compile(r"\[(?:input|output|temp)\]\s*$", re.IGNORECASE)
"""Forms of the annotation that ComfyUI reads differently or ignores."""
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")

_PATH = re.compile(r'[^\\/*?"<>|\r\n]+(?:[\\/]+[^\\/*?"<>|\r\n]+)*[\\/]?')
"""A relative path with either separator, without characters that file names cannot have."""
_MODEL = re.compile(r"\.(?:safetensors|sft|ckpt|pt|pth|bin|gguf|onnx|engine|pkl)\Z", re.IGNORECASE)
_FILE = re.compile(r"\.[a-z0-9]{2,11}(?: \[(?:input|output|temp)\])?\Z", re.IGNORECASE)
_FOLDER_INPUT = re.compile(r"(?:^|_)(?:prefix|path|paths|dir|directory|folder|subfolder)(?:_|\d|$)", re.IGNORECASE)
_FILE_INPUT = re.compile(
    r"(?:^|_)(?:file|files|filename|filenames|filepath|path|paths|dir|directory|folder|subfolder|prefix|name|url|urls"
    r"|uri|image|images|mask|masks|video|videos|audio|audios|model|lora|vae|ckpt|checkpoint|mesh|latent)(?:_|\d|$)",
    re.IGNORECASE,
)
_PATTERN_INPUT = re.compile(
    r"regex|pattern|expression|match|find|replace|delimiter|separator|template|code|script", re.IGNORECASE
)
"""Inputs whose text is a pattern or code, where a backslash is not a separator."""
_TEXT_INPUT = re.compile(r"(?:^|_)(?:text|prompt|tags|lyrics|caption)(?:_|$)", re.IGNORECASE)
_LOADS = re.compile("load", re.IGNORECASE)
_ENCODES = re.compile("encode", re.IGNORECASE)


def portable_name(name: str) -> str:
    """`name` with forward slashes."""
    return re.sub(r"\\+", "/", name)


def name_problem(name: str) -> str | None:
    """Why an input file cannot have this name, as the end of a sentence; None if it can."""
    if not 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES:
        return f"must have 1 to {MAX_NAME_BYTES} bytes"
    plain = _ANNOTATION.sub("", portable_name(name))
    if _CONTROL.search(name) or _ODD_ANNOTATION.search(plain):
        return "must not contain control characters, and [input], [output] or [temp] at its end must follow a space"
    parts = [part.strip() for part in plain.split("/")]
    if _DRIVE.match(plain) or plain.startswith("~") or any(part in ("", ".", "..") for part in parts):
        return 'must be a relative path without empty, "." and ".." parts'
    return None


def clashing(names: Iterable[str]) -> str | None:
    """The first name that leads to the same file as another, or to a folder of another; None if no name does."""
    files: dict[str, str] = {}
    for name in names:
        file = _file_of(name)
        if file in files:
            return name
        files[file] = name
    for file, name in files.items():
        parts = file.split("/")
        if any("/".join(parts[:length]) in files for length in range(2, len(parts))):
            return name
    return None


def with_linux_paths(workflow: Mapping[str, JsonObject], names: Iterable[str]) -> dict[str, JsonObject]:
    """`workflow` with forward slashes in Windows paths: of models, files and folders, and in any value that is one of
    `names`. Other texts, such as prompts and patterns, keep their backslashes."""
    known = frozenset(names)
    return {node_id: _changed_node(node, known) for node_id, node in workflow.items()}


def _changed_node(node: JsonObject, names: frozenset[str]) -> JsonObject:
    class_type = maybe_text(node.get("class_type")) or ""
    inputs: JsonObject = {
        name: _changed(value, class_type, name, names) for name, value in maybe_object(node.get("inputs")).items()
    }
    return {**node, "inputs": inputs}


def _changed(value: Json, class_type: str, name: str, names: frozenset[str]) -> Json:
    if isinstance(value, str):
        if "\\" not in value:
            return value
        portable = portable_name(value)
        return portable if portable in names or _is_path(class_type, name, value) else value
    if isinstance(value, list):
        return [_changed(item, class_type, name, names) for item in value]
    if isinstance(value, dict):
        return {key: _changed(item, class_type, name, names) for key, item in value.items()}
    return value


def _is_path(class_type: str, name: str, text: str) -> bool:
    loads, encodes = _LOADS.search(class_type) is not None, _ENCODES.search(class_type) is not None
    is_text = _TEXT_INPUT.search(name) is not None
    if len(text) > MAX_PATH_CHARS or _PATH.fullmatch(text) is None or _PATTERN_INPUT.search(name) is not None:
        return False
    if encodes and not loads and is_text:
        return False
    names_a_file = _FILE_INPUT.search(name) is not None
    if _MODEL.search(text) is not None:
        return True
    if _FILE.search(text) is not None and (names_a_file or (loads and not is_text)):
        return True
    return names_a_file and _FOLDER_INPUT.search(name) is not None


def _file_of(name: str) -> str:
    """ComfyUI's folder and the path in it that a name leads to."""
    portable = portable_name(name)
    said = _ANNOTATION.search(portable)
    return f"{said[1] if said is not None else 'input'}/{_ANNOTATION.sub('', portable)}"
