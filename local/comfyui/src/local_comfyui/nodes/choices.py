"""Inputs whose value is one of a closed set, narrowed to a type."""

from typing import TypeVar

from local_comfyui.nodes.registry import Call, WrongInput

Choice = TypeVar("Choice", bound=str)


def choice(call: Call, name: str, allowed: tuple[Choice, ...]) -> Choice:
    """The member of `allowed` that input `name` equals. Raises `WrongInput`."""
    value = call.text(name)
    for candidate in allowed:
        if candidate == value:
            return candidate
    raise WrongInput(f"{name}: {value!r} is not one of {', '.join(allowed)}")
