"""Reads and writes video files with PyAV."""

# PyAV's stubs leave type parameters of packets and keyword arguments open: mux and encode are "partially unknown".
# pyright: reportUnknownMemberType=false

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.container
import numpy as np

from local_comfyui.audio_files import load_sound
from local_comfyui.json_types import Json
from local_comfyui.nodes.media import Video
from local_comfyui.pixels.types import Pixels, from_bytes8, to_bytes8

WebmCodec = Literal["libvpx-vp9", "libsvtav1"]


def pictures(video: Video) -> Pixels:
    """The pictures of a decoded video. Raises `ValueError` for a video that is still a file."""
    if video.frames is None:
        raise ValueError("The video has not been decoded")
    return video.frames


def decoded(video: Video) -> Video:
    """`video` with its images and audio in memory. Raises `ValueError` if the file has no image."""
    if video.path is None:
        return video
    with av.open(str(video.path)) as container:
        sounding = bool(container.streams.audio)
        if not container.streams.video:
            raise ValueError(f"No video stream found in file '{video.path.name}'")
        stream = container.streams.video[0]
        frames = [from_bytes8(frame.to_ndarray(format="rgb24").astype(np.uint8)) for frame in container.decode(stream)]
        rate = Fraction(stream.average_rate) if stream.average_rate else Fraction(1)
    if not frames:
        raise ValueError(f"No picture found in file '{video.path.name}'")
    return Video(np.stack(frames), rate, load_sound(video.path) if sounding else None)


def write_mp4(path: Path, video: Video, metadata: Mapping[str, Json]) -> None:
    """H.264 in yuv420p, AAC when there is sound; metadata as JSON in the container's tags."""
    frames = pictures(video)
    with av.open(str(path), mode="w", options={"movflags": "use_metadata_tags"}) as container:
        _describe(container, metadata)
        stream = container.add_stream("h264", rate=Fraction(round(video.frame_rate * 1000), 1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        sound = None
        if video.audio is not None:
            sound = container.add_stream("aac", rate=video.audio.sample_rate)
        for frame in to_bytes8(frames[..., :3]):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None and video.audio is not None:
            length = int(frames.shape[0] / video.frame_rate * video.audio.sample_rate)
            samples = np.ascontiguousarray(video.audio.waveform[0, :, :length])
            layout = "mono" if samples.shape[0] == 1 else "stereo"
            block = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            block.sample_rate = video.audio.sample_rate
            block.pts = 0
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))


def write_webm(
    path: Path, images: Pixels, rate: Fraction, codec: WebmCodec, crf: float, metadata: Mapping[str, Json]
) -> None:
    """`codec` libvpx-vp9 or libsvtav1 at a constant rate factor."""
    with av.open(str(path), mode="w") as container:
        _describe(container, metadata)
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p10le" if codec == "libsvtav1" else "yuv420p"
        stream.bit_rate = 0
        stream.options = {"crf": str(crf), **({"preset": "6"} if codec == "libsvtav1" else {})}
        for frame in to_bytes8(images[..., :3]):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _describe(container: av.container.OutputContainer, metadata: Mapping[str, Json]) -> None:
    for key, value in metadata.items():
        container.metadata[key] = json.dumps(value)
