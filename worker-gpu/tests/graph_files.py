"""Files as ComfyUI's savers write them, each with the graph inside and something to compare."""

# PyAV's own stubs are incomplete.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import json
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, PngImagePlugin

NEEDLE = "KSamplerOfTheSecret"
GRAPH = json.dumps({str(n): {"class_type": NEEDLE, "inputs": {"text": "a hill" * 40}} for n in range(600)})
"""Larger than one page of Ogg and one segment of JPEG."""
SHORT_GRAPH = json.dumps({"1": {"class_type": NEEDLE, "inputs": {}}})


def frames(count: int = 6) -> list[Image.Image]:
    """Pictures that differ."""
    return [Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 20 + 7 * n).convert("RGB") for n in range(count)]


def png(path: Path) -> None:
    """SaveImage, with a `workflow` in a compressed chunk beside it."""
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", GRAPH)
    info.add_text("workflow", GRAPH, zip=True)
    frames(1)[0].save(path, pnginfo=info)


def apng(path: Path) -> None:
    """SaveAnimatedPNG: the graph is in a chunk of its own kind after the first picture."""
    info = PngImagePlugin.PngInfo()
    info.add(b"comf", b"prompt\0" + GRAPH.encode(), after_idat=True)
    first, *rest = frames()
    first.save(path, pnginfo=info, save_all=True, append_images=rest, duration=100)


def webp(path: Path) -> None:
    """SaveAnimatedWEBP: the graph is in EXIF."""
    first, *rest = frames()
    exif = first.getexif()
    exif[0x0110] = f"prompt:{GRAPH}"
    first.save(path, save_all=True, append_images=rest, duration=100, exif=exif, lossless=True)


def jpeg(path: Path) -> None:
    """As custom nodes save: EXIF and a comment. A segment has 64 KiB at most."""
    picture = frames(1)[0]
    exif = picture.getexif()
    exif[0x0110] = SHORT_GRAPH
    picture.save(path, exif=exif, comment=SHORT_GRAPH)


def gif(path: Path) -> None:
    """A comment between the pictures."""
    first, *rest = frames()
    first.save(path, save_all=True, append_images=rest, duration=100, loop=0, comment=GRAPH)


def film(codec: str, pixels: str) -> Callable[[Path], None]:
    """SaveVideo and SaveWEBM: tags of the container."""

    def make(path: Path) -> None:
        options = {"movflags": "use_metadata_tags+faststart"} if path.suffix in (".mp4", ".mov") else {}
        with av.open(str(path), "w", options=options) as container:
            container.metadata["prompt"] = GRAPH
            stream = container.add_stream(codec, rate=Fraction(8))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            for picture in frames():
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            container.mux(stream.encode(None))

    return make


def sound(codec: str, form: str | None = None, key: str = "prompt") -> Callable[[Path], None]:
    """SaveAudio and its kin: tags of the container."""

    def make(path: Path) -> None:
        with av.open(str(path), "w", format=form) as container:
            container.metadata[key] = GRAPH
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


def glb(path: Path) -> None:
    """SaveGLB: `asset.extras`."""
    scene = {"asset": {"version": "2.0", "extras": {"prompt": GRAPH}}, "nodes": [{"translation": [0.1, -2.5e-7, 3]}]}
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    content = bytes(range(256))
    head = struct.pack("<III", 0x46546C67, 2, 12 + 8 + len(text) + 8 + len(content))
    path.write_bytes(
        head + struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(content), 0x004E4942) + content
    )


def latent(path: Path) -> None:
    """SaveLatent: metadata of a safetensors header."""
    header = {
        "__metadata__": {"prompt": GRAPH, "format": "pt"},
        "latent_tensor": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<2f", 1.5, -2.0))


def exr(path: Path) -> None:
    """SaveImageAdvanced: attributes of the header."""

    def attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value

    path.write_bytes(
        b"\x76\x2f\x31\x01\x02\0\0\0"
        + attribute(b"compression", b"compression", b"\0")
        + attribute(b"prompt", b"string", GRAPH.encode())
        + attribute(b"owner", b"string", b"me")
        + b"\0"
        + bytes(range(200))
    )


def svg(path: Path) -> None:
    """SaveSVG: an element of its own."""
    metadata = f"<metadata>\n<![CDATA[\n{GRAPH}\n]]></metadata>\n"
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg">{metadata}<path d="M0 0"/></svg>')


MAKERS: dict[str, Callable[[Path], None]] = {
    "picture.png": png,
    "moving.png": apng,
    "moving.webp": webp,
    "picture.jpg": jpeg,
    "moving.gif": gif,
    "film.mp4": film("libx264", "yuv420p"),
    "film.mov": film("libx264", "yuv420p"),
    "film.webm": film("libvpx-vp9", "yuv420p"),
    "film.mkv": film("libx264", "yuv420p"),
    "sound.flac": sound("flac"),
    "sound.mp3": sound("libmp3lame"),
    "sound.opus": sound("libopus", form="ogg"),
    "sound.m4a": sound("aac", form="ipod", key="comment"),
    "sound.wav": sound("pcm_s16le", key="comment"),
    "mesh.glb": glb,
    "noise.latent": latent,
    "light.exr": exr,
    "drawing.svg": svg,
}
"""A maker for each kind, by the name of the file."""
