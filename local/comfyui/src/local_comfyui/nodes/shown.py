"""How a value on a link is shown to people: in errors and in PreviewAny."""

from local_comfyui.json_types import Json
from local_comfyui.nodes.media import Audio
from local_comfyui.nodes.registry import Value, is_pixels
from local_comfyui.pixels.types import describe


def as_shown(value: Value) -> Json:
    """Numbers, truth values and text as they are; arrays as PyTorch prints them; the rest as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_pixels(value):
        return describe(value)
    if isinstance(value, Audio):
        return f"{{'waveform': {describe(value.waveform)}, 'sample_rate': {value.sample_rate}}}"
    return str(value)
