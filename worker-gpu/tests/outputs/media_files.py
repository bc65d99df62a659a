"""Files as ComfyUI's savers write them, each with a workflow inside and content to compare."""

# PyAV's own stubs are incomplete.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, PngImagePlugin

MARKER = "MarkerOfTheWorkflow"
WORKFLOW = json.dumps({str(n): {"class_type": MARKER, "inputs": {"text": "a hill" * 40}} for n in range(600)})
"""Larger than one page of Ogg."""


def frames(count: int = 6) -> list[Image.Image]:
    """Images that differ."""
    return [Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 20 + 7 * n).convert("RGB") for n in range(count)]


def png(path: Path) -> None:
    """SaveImage, with a `workflow` in a compressed chunk beside it."""
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", WORKFLOW)
    info.add_text("workflow", WORKFLOW, zip=True)
    frames(1)[0].save(path, pnginfo=info)


def apng(path: Path) -> None:
    """SaveAnimatedPNG: the workflow is in a `comf` chunk after the first image."""
    info = PngImagePlugin.PngInfo()
    info.add(b"comf", b"prompt\0" + WORKFLOW.encode(), after_idat=True)
    first, *rest = frames()
    first.save(path, pnginfo=info, save_all=True, append_images=rest, duration=100)


def webp(path: Path) -> None:
    """SaveAnimatedWEBP: the workflow is in EXIF."""
    first, *rest = frames()
    exif = first.getexif()
    exif[0x0110] = f"prompt:{WORKFLOW}"
    first.save(path, save_all=True, append_images=rest, duration=100, exif=exif, lossless=True)


def video(codec: str, pixels: str) -> Callable[[Path], None]:
    """SaveVideo and SaveWEBM: tags of the container."""

    def make(path: Path) -> None:
        options = {"movflags": "use_metadata_tags+faststart"} if path.suffix == ".mp4" else {}
        with av.open(str(path), "w", options=options) as container:
            container.metadata["prompt"] = WORKFLOW
            stream = container.add_stream(codec, rate=Fraction(8))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            for image in frames():
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
            container.mux(stream.encode(None))

    return make


def audio(codec: str, container_format: str | None = None) -> Callable[[Path], None]:
    """SaveAudio, SaveAudioMP3 and SaveAudioOpus: tags of the container."""

    def make(path: Path) -> None:
        with av.open(str(path), "w", format=container_format) as container:
            container.metadata["prompt"] = WORKFLOW
            stream = container.add_stream(codec, rate=48000, layout="stereo")
            assert isinstance(stream, av.AudioStream)
            wave = (np.sin(np.arange(48000) / 20) * 12000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
            frame.sample_rate = 48000
            resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=48000)
            for piece in resampler.resample(frame):
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))

    return make


WRITERS: dict[str, Callable[[Path], None]] = {
    "image.png": png,
    "animated.png": apng,
    "animated.webp": webp,
    "video.mp4": video("libx264", "yuv420p"),
    "video.webm": video("libvpx-vp9", "yuv420p"),
    "audio.flac": audio("flac"),
    "audio.mp3": audio("libmp3lame"),
    "audio.opus": audio("libopus", "ogg"),
}
"""Writes each type of file, by the name of the file."""
