"""Values on VIDEO and AUDIO links."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from local_comfyui.pixels.types import Pixels


@dataclass(frozen=True)
class Audio:
    """`waveform`: float32 (1, channels, samples) in -1..1."""

    waveform: Pixels
    sample_rate: int


@dataclass(frozen=True)
class Video:
    """A video made of pictures, or a file that is read when it is needed (`path`, then `frames` is None)."""

    frames: Pixels | None
    frame_rate: Fraction
    audio: Audio | None
    path: Path | None = None
