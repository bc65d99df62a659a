"""Reads and writes audio files with PyAV."""

# PyAV's stubs leave type parameters of packets and keyword arguments open: mux and encode are "partially unknown".
# pyright: reportUnknownMemberType=false

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from local_comfyui.json_types import Json
from local_comfyui.nodes.media import Audio

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
"""Sample rates Opus has (RFC 6716, section 2)."""


LAMBDA = 118
"""FFmpeg's factor between a quality scale and its option `global_quality` (FF_QP2LAMBDA)."""


@dataclass(frozen=True)
class Format:
    """`extension` of the file, `codec`, and either bits per second or the encoder's quality scale."""

    extension: str
    codec: str
    bit_rate: int | None = None
    quality: int | None = None


def load_sound(path: Path) -> Audio:
    """The first audio stream of a file. Raises `ValueError` if there is none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise ValueError(f"No audio stream found in file '{path.name}'")
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp")
        parts = [
            resampled.to_ndarray().astype(np.float32)
            for frame in container.decode(stream)
            for resampled in resampler.resample(frame)
        ]
        if not parts:
            raise ValueError(f"No sound found in file '{path.name}'")
        return Audio(np.concatenate(parts, axis=1)[np.newaxis], stream.rate)


def sample_rate_for(codec: str, rate: int) -> int:
    """The rate a sound of `rate` is stored at: Opus has five rates, and the next higher one is used."""
    if codec != "libopus":
        return rate
    return next((candidate for candidate in OPUS_RATES if candidate >= rate), OPUS_RATES[-1])


def write_sound(path: Path, audio: Audio, form: Format, metadata: Mapping[str, Json]) -> None:
    """Write the first audio of the batch to a file, with metadata as JSON in the container's tags."""
    samples = np.ascontiguousarray(audio.waveform[0])
    layout = "mono" if samples.shape[0] == 1 else "stereo"
    with av.open(str(path), mode="w", format="opus" if form.extension == "opus" else None) as container:
        for key, value in metadata.items():
            container.metadata[key] = json.dumps(value)
        options = {} if form.quality is None else {"flags": "+qscale", "global_quality": str(form.quality * LAMBDA)}
        rate = sample_rate_for(form.codec, audio.sample_rate)
        stream = container.add_stream(form.codec, rate=rate, options=options, layout=layout)
        if not isinstance(stream, av.AudioStream):
            raise TypeError(f"{form.codec} is not a sound codec")
        if form.bit_rate is not None:
            stream.bit_rate = form.bit_rate
        block = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        block.sample_rate = audio.sample_rate
        block.pts = 0
        container.mux(stream.encode(block))
        container.mux(stream.encode(None))
