"""Registers nodes: each is a function from a `Call` to a `Result` under the class name of ComfyUI."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias, TypeGuard

import numpy as np
from PIL import Image

from local_comfyui.folders import Folders
from local_comfyui.json_types import Json, JsonObject
from local_comfyui.nodes.media import Audio, Video
from local_comfyui.pixels.types import Pixels

Value: TypeAlias = object
"""A value on a link. A node checks each input when it reads it from its `Call`."""

Ui: TypeAlias = dict[str, list[Json]]
"""What an output node reports: shown in `executed` and in the history."""


@dataclass(frozen=True)
class Preview:
    """A preview image; shown at most `max_size` pixels wide and high, or as it is."""

    format: Literal["JPEG", "PNG"]
    image: Image.Image
    max_size: int | None


class Running(Protocol):
    """The services of the engine for a running node."""

    def report(self, value: float, maximum: float, preview: Preview | None) -> None:
        """Tell the client how far the node is. Raises `Interrupted`."""
        ...

    def send_picture(self, picture: Image.Image) -> None:
        """Send the client an image that is an output, in full size. Raises `Interrupted`."""
        ...

    def show_text(self, text: str) -> None:
        """Show a line of text on the node."""
        ...

    def check_interrupt(self) -> None:
        """Raise `Interrupted` if the prompt was interrupted."""
        ...

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        ...


@dataclass(frozen=True)
class Surroundings:
    """What is the same for every node of a prompt: folders, the metadata to embed (None: embed none), clock, random
    numbers."""

    folders: Folders
    prompt: JsonObject | None
    extra_pnginfo: JsonObject | None
    now: Callable[[], datetime]
    dice: random.Random


class WrongInput(TypeError):  # noqa: N818 -- becomes a node's error by this name
    """A link delivered a value that the node does not accept."""


@dataclass(frozen=True)
class Call:
    """One execution of a node: its inputs by name, and its surroundings."""

    inputs: Mapping[str, Value]
    around: Surroundings
    running: Running

    def image(self, name: str) -> Pixels:
        """Image batch `name`."""
        return _pixels(self.inputs.get(name), name, 4)

    def optional_image(self, name: str) -> Pixels | None:
        """Image batch `name`, or None when nothing is connected."""
        return None if self.inputs.get(name) is None else self.image(name)

    def images(self, name: str) -> list[Pixels]:
        """Every image batch of list input `name` (nodes with `takes_lists`)."""
        return [_pixels(item, name, 4) for item in self.items(name)]

    def mask(self, name: str) -> Pixels:
        """Mask batch `name`; a single mask counts as a batch of one."""
        value = self.inputs.get(name)
        if is_pixels(value) and value.ndim != 3:
            value = value.reshape(-1, *value.shape[-2:])
        return _pixels(value, name, 3)

    def optional_mask(self, name: str) -> Pixels | None:
        """Mask batch `name`, or None when nothing is connected."""
        return None if self.inputs.get(name) is None else self.mask(name)

    def integer(self, name: str) -> int:
        """Whole number `name`."""
        return int(self.number(name))

    def number(self, name: str, default: float | None = None) -> float:
        """Number `name`; `default` where it is optional and missing."""
        value = self.inputs.get(name, default)
        if not isinstance(value, int | float):
            raise WrongInput(f"{name}: expected a number, got {type(value).__name__}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Truth value `name`."""
        return bool(self.inputs.get(name, default))

    def text(self, name: str) -> str:
        """Text `name`."""
        value = self.inputs.get(name)
        if not isinstance(value, str):
            raise WrongInput(f"{name}: expected text, got {type(value).__name__}")
        return value

    def video(self, name: str) -> Video:
        """Video `name`."""
        value = self.inputs.get(name)
        if not isinstance(value, Video):
            raise WrongInput(f"{name}: expected a video, got {type(value).__name__}")
        return value

    def optional_audio(self, name: str) -> Audio | None:
        """Audio `name`, or None when nothing is connected."""
        value = self.inputs.get(name)
        if value is None or isinstance(value, Audio):
            return value
        raise WrongInput(f"{name}: expected audio, got {type(value).__name__}")

    def audio(self, name: str) -> Audio:
        """Audio `name`."""
        value = self.optional_audio(name)
        if value is None:
            raise WrongInput(f"{name}: expected audio, got nothing")
        return value

    def items(self, name: str) -> list[Value]:
        """Every value of list input `name` (nodes with `takes_lists`)."""
        value = self.inputs.get(name)
        return list(value) if is_list(value) else [value]


def is_list(value: Value) -> TypeGuard[list[Value]]:
    """A list of any values."""
    return isinstance(value, list)


def is_pixels(value: Value) -> TypeGuard[Pixels]:
    """An array: every node here makes float32 ones."""
    return isinstance(value, np.ndarray)


def _pixels(value: Value, name: str, dimensions: int) -> Pixels:
    if not is_pixels(value) or value.ndim != dimensions:
        kind = "an image" if dimensions == 4 else "a mask"
        raise WrongInput(f"{name}: expected {kind}, got {type(value).__name__}")
    return value


@dataclass(frozen=True)
class Result:
    """The result of a node: one value per output, and its report. A list output's value is a list."""

    outputs: tuple[Value, ...] = ()
    ui: Ui = field(default_factory=dict[str, list[Json]])


Run: TypeAlias = Callable[[Call], Result]
Check: TypeAlias = Callable[[JsonObject, Folders], str | None]
Fingerprint: TypeAlias = Callable[[JsonObject, Folders], str | None]


@dataclass(frozen=True)
class Implementation:
    """A node's behaviour; its inputs and outputs are described in object_info.json.

    `takes_lists`: called once with every value of each input. `checked`: the input that `check` judges at submit time
    (text of the complaint, or None); it is then not held against its list of choices. `fingerprint`: a text that
    changes when the node must run again although its inputs are the same; None means always.
    """

    run: Run
    takes_lists: bool = False
    checked: str | None = None
    check: Check | None = None
    fingerprint: Fingerprint | None = None


class Theme:
    """The nodes of one module."""

    def __init__(self) -> None:
        self.implementations: dict[str, Implementation] = {}

    def node(
        self,
        name: str,
        *,
        takes_lists: bool = False,
        checked: str | None = None,
        check: Check | None = None,
        fingerprint: Fingerprint | None = None,
    ) -> Callable[[Run], Run]:
        """Register the decorated function as node `name`."""

        def register(run: Run) -> Run:
            self.implementations[name] = Implementation(run, takes_lists, checked, check, fingerprint)
            return run

        return register
