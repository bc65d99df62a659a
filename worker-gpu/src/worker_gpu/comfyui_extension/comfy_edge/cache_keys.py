"""Decides which cached results ComfyUI may use for the next prompt, by an addition to the key of each.

A key consists of a node's class, inputs and ancestors, so an addition to it is also part of the keys of all nodes that
depend on the node. A result that depends on no text and no file of a prompt, such as a loaded model, has no addition:
all scopes share it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .request import Json


class CacheKeys:
    """Learns while prompts run which classes write files and which read a prompt's folders."""

    def __init__(self) -> None:
        self._writers: set[str] = set()
        self._readers: set[str] = set()
        self._choices: dict[str, frozenset[str]] = {}

    def on_file_written(self, class_type: str) -> None:
        """A node of this class wrote a file to the prompt's folders: its results name files that will be deleted."""
        self._writers.add(class_type)

    def on_folder_read(self, class_type: str) -> None:
        """A node of this class asked for one of the prompt's folders: its results may depend on the files there."""
        self._readers.add(class_type)

    def addition(
        self, node: "Mapping[str, Any]", definition: Any, run: str, scope: str, inputs: "Mapping[str, str]"
    ) -> "list[str] | None":
        """The addition to the key of `node`, whose class is `definition`; None if all scopes may share its result.
        `run` is unique for each execution. `inputs` are the digests of the prompt's input files by name."""
        class_type = node["class_type"]
        if getattr(definition, "OUTPUT_NODE", False) or class_type in self._writers:
            return ["run", run]
        given: dict[str, Json] = node["inputs"]
        texts = {text for name, value in given.items() for text in self._texts(class_type, definition, name, value)}
        named = sorted({digest for name, digest in inputs.items() if texts and _is_named(name, texts)})
        if class_type in self._readers and not named:
            return ["run", run]
        return ["scope", scope, *named] if texts or named else None

    def _texts(self, class_type: str, definition: Any, name: str, value: Json) -> "Iterator[str]":
        """The texts of an input that come from the prompt, and not from a list of choices."""
        if is_link(value):
            return
        if isinstance(value, str):
            if name not in self._choices_of(class_type, definition):
                yield value
            return
        if isinstance(value, (list, dict)):
            yield ""  # Any such value comes from the prompt.
            yield from texts_in(value)

    def _choices_of(self, class_type: str, definition: Any) -> "frozenset[str]":
        known = self._choices.get(class_type)
        if known is None:
            known = self._choices[class_type] = choices_of(definition)
        return known


def choices_of(definition: Any) -> "frozenset[str]":
    """Inputs of a class whose value is one of a list of choices. Excludes inputs that name an uploaded file, and all
    inputs of a class that validates values itself."""
    if _validates_itself(definition):
        return frozenset()
    try:
        declared: dict[str, dict[str, Sequence[Any]]] = definition.INPUT_TYPES()
        groups = [declared.get("required") or {}, declared.get("optional") or {}]
        return frozenset(name for group in groups for name, spec in group.items() if _is_choice(spec))
    except Exception:  # The custom node raised: none of its inputs counts as a choice.
        return frozenset()


def _is_choice(spec: "Sequence[Any]") -> bool:
    options: dict[str, Any] = spec[1] if len(spec) > 1 else {}
    if any(key.endswith("_upload") or key in ("upload", "remote") for key in options):
        return False
    return spec[0] == "COMBO" or isinstance(spec[0], (list, tuple))


def _validates_itself(definition: Any) -> bool:
    """Whether a class has its own validation. The base class of the newer kind of nodes has the method too."""
    for name in ("VALIDATE_INPUTS", "validate_inputs"):
        owner = next((cls for cls in getattr(definition, "__mro__", ()) if name in vars(cls)), None)
        if owner is not None and not str(owner.__module__).startswith("comfy_api."):
            return True
    return False


def is_link(value: Json) -> bool:
    """Whether an input is a link to another node, `[id, slot]`."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], (int, float))


def texts_in(value: Json) -> "Iterator[str]":
    """Every text in nested lists and objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def plain_name(text: str) -> str:
    """The name of a file without an annotation such as ` [input]`."""
    for annotation in ("[input]", "[output]", "[temp]"):
        if text.endswith(annotation):
            return text[: -len(annotation)].rstrip(" ")
    return text


def _is_named(name: str, texts: "set[str]") -> bool:
    """Whether one of `texts` names the input file `name` or a folder that contains it."""
    for text in texts:
        plain = plain_name(text).replace("\\", "/").strip("/")
        if plain == plain_name(name) or (plain and name.startswith(f"{plain}/")):
            return True
    return False
