"""What ComfyUI may keep of one prompt for the next: said by an addition to the key of each cached result.

A key holds a node's class, inputs and ancestors, so an addition to a node's key is one to the keys of all that build on
it. Results that no text and no file of a prompt went into, such as loaded models, have no addition: every scope shares
them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .request import Json


class CacheKeys:
    """Learns while prompts run which classes write files and which ask for a prompt's folders."""

    def __init__(self) -> None:
        self._writers: set[str] = set()
        self._readers: set[str] = set()
        self._choices: dict[str, frozenset[str]] = {}

    def wrote(self, class_type: str) -> None:
        """A node of this class wrote a file into the prompt's folders: its results name files that will be gone."""
        self._writers.add(class_type)

    def asked(self, class_type: str) -> None:
        """A node of this class asked for one of the prompt's folders: its results may depend on what lies there."""
        self._readers.add(class_type)

    def addition(
        self, node: "Mapping[str, Any]", definition: Any, run: str, scope: str, inputs: "Mapping[str, str]"
    ) -> "list[str] | None":
        """What is added to the key of `node`, whose class is `definition`; None where all scopes may share its result.
        `run` is different in every execution. `inputs`: digests of the scope's input files by name."""
        class_type = node["class_type"]
        if getattr(definition, "OUTPUT_NODE", False) or class_type in self._writers:
            return ["run", run]
        given: dict[str, Json] = node["inputs"]
        own = {text for name, value in given.items() for text in self._own(class_type, definition, name, value)}
        named = sorted({digest for name, digest in inputs.items() if own and _is_named(name, own)})
        if class_type in self._readers and not named:
            return ["run", run]
        return ["scope", scope, *named] if own or named else None

    def _own(self, class_type: str, definition: Any, name: str, value: Json) -> "Iterator[str]":
        """Texts of an input that the prompt brought, rather than chose from a list of ComfyUI's."""
        if is_link(value):
            return
        if isinstance(value, str):
            if name not in self._choices_of(class_type, definition):
                yield value
            return
        if isinstance(value, (list, dict)):
            yield ""  # whatever it is, it is the prompt's
            yield from texts_in(value)

    def _choices_of(self, class_type: str, definition: Any) -> "frozenset[str]":
        known = self._choices.get(class_type)
        if known is None:
            known = self._choices[class_type] = choices_of(definition)
        return known


def choices_of(definition: Any) -> "frozenset[str]":
    """Inputs of a class whose value ComfyUI takes from a list only. Not those that name an uploaded file, nor any of a
    class that judges values itself."""
    if _judges_itself(definition):
        return frozenset()
    try:
        declared: dict[str, dict[str, Sequence[Any]]] = definition.INPUT_TYPES()
        groups = [declared.get("required") or {}, declared.get("optional") or {}]
        return frozenset(name for group in groups for name, spec in group.items() if _is_choice(spec))
    except Exception:  # a custom node's own fault: then nothing of it is taken for a choice
        return frozenset()


def _is_choice(spec: "Sequence[Any]") -> bool:
    options: dict[str, Any] = spec[1] if len(spec) > 1 else {}
    if any(key.endswith("_upload") or key in ("upload", "remote") for key in options):
        return False
    return spec[0] == "COMBO" or isinstance(spec[0], (list, tuple))


def _judges_itself(definition: Any) -> bool:
    """By ComfyUI's rule for either kind of node; the base class of the newer kind has the methods too."""
    for name in ("VALIDATE_INPUTS", "validate_inputs"):
        owner = next((cls for cls in getattr(definition, "__mro__", ()) if name in vars(cls)), None)
        if owner is not None and not str(owner.__module__).startswith("comfy_api."):
            return True
    return False


def is_link(value: Json) -> bool:
    """Whether an input is another node's output, `[id, slot]`."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], (int, float))


def texts_in(value: Json) -> "Iterator[str]":
    """Every text in lists and objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def plain_name(text: str) -> str:
    """A file's name without ComfyUI's ` [input]` and the like behind it."""
    for annotation in ("[input]", "[output]", "[temp]"):
        if text.endswith(annotation):
            return text[: -len(annotation)].rstrip(" ")
    return text


def _is_named(name: str, texts: "set[str]") -> bool:
    """Whether one of `texts` is the input file `name`, or a folder that it lies in."""
    for text in texts:
        plain = plain_name(text).replace("\\", "/").strip("/")
        if plain == plain_name(name) or (plain and name.startswith(f"{plain}/")):
            return True
    return False
