"""Nodes that write pictures and text to files: saved ones to the output folder, previews to the temp folder."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from local_comfyui.folders import SaveTarget, next_save_target
from local_comfyui.json_types import Json, JsonObject
from local_comfyui.nodes.registry import Call, Result, Surroundings, Theme
from local_comfyui.pixels.types import Pixels, to_bytes8

NODES = Theme()

SAVED_COMPRESSION = 4
PREVIEW_COMPRESSION = 1
TEMP_LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEMP_SUFFIX_LENGTH = 5

EXIF_MODEL = 0x0110
EXIF_MAKE = 0x010F
"""ComfyUI puts the prompt into a WebP's `Model` tag and everything else into the tags from `Make` downward."""

WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}


def metadata_entries(around: Surroundings) -> Iterator[tuple[str, Json]]:
    """The metadata of a saved file: the prompt, and `extra_pnginfo` of the client."""
    if around.prompt is not None:
        yield "prompt", around.prompt
    yield from (around.extra_pnginfo or {}).items()


def save_target(call: Call, prefix: str, images: Pixels, *, temp: bool = False) -> SaveTarget:
    """Next free file name for `images`. Raises `OutsideFolder`."""
    folders = call.around.folders
    root = folders.temp if temp else folders.output
    return next_save_target(root, prefix, call.around.now(), images.shape[2], images.shape[1])


def saved(target: SaveTarget, name: str, kind: str) -> JsonObject:
    """A saved file as ComfyUI reports it."""
    return {"filename": name, "subfolder": target.subfolder, "type": kind}


def _pictures(images: Pixels) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in to_bytes8(images)]


def _save_pngs(call: Call, images: Pixels, target: SaveTarget, kind: str, compression: int) -> Result:
    info = PngInfo()
    for key, value in metadata_entries(call.around):
        info.add_text(key, json.dumps(value))
    reported: list[Json] = []
    for index, picture in enumerate(_pictures(images)):
        name = target.name(index, "png")
        picture.save(target.folder / name, pnginfo=info, compress_level=compression)
        reported.append(saved(target, name, kind))
    return Result(ui={"images": reported})


@NODES.node("SaveImage")
def save_image(call: Call) -> Result:
    """A PNG per picture in the output folder."""
    images = call.image("images")
    target = save_target(call, call.text("filename_prefix"), images)
    return _save_pngs(call, images, target, "output", SAVED_COMPRESSION)


def random_temp_prefix(call: Call) -> str:
    """Prefix of the file of a preview, unique for each."""
    suffix = "".join(call.around.dice.choice(TEMP_LETTERS) for _ in range(TEMP_SUFFIX_LENGTH))
    return f"ComfyUI_temp_{suffix}"


def _save_preview(call: Call, images: Pixels, compression: int) -> Result:
    target = save_target(call, random_temp_prefix(call), images, temp=True)
    return _save_pngs(call, images, target, "temp", compression)


@NODES.node("PreviewImage")
def preview_image(call: Call) -> Result:
    """A PNG per picture in the temp folder, under a random name."""
    return _save_preview(call, call.image("images"), PREVIEW_COMPRESSION)


@NODES.node("MaskPreview")
def mask_preview(call: Call) -> Result:
    """A mask as a grey PNG in the temp folder."""
    return _save_preview(call, np.repeat(call.mask("mask")[..., np.newaxis], 3, axis=-1), SAVED_COMPRESSION)


def _frame_milliseconds(call: Call) -> int:
    return int(1000.0 / call.number("fps"))


def _animation(call: Call, extension: str) -> tuple[list[Image.Image], SaveTarget, Path]:
    images = call.image("images")
    target = save_target(call, call.text("filename_prefix"), images)
    return _pictures(images), target, target.folder / target.name(0, extension)


@NODES.node("SaveAnimatedWEBP")
def save_animated_webp(call: Call) -> Result:
    """All pictures as the frames of one WebP."""
    frames, target, path = _animation(call, "webp")
    exif = frames[0].getexif()
    tag = EXIF_MAKE
    for key, value in metadata_entries(call.around):
        text = f"{key}:{json.dumps(value)}"
        if key == "prompt":
            exif[EXIF_MODEL] = text
        else:
            exif[tag] = text
            tag -= 1
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=_frame_milliseconds(call),
        exif=exif,
        lossless=call.flag("lossless"),
        quality=call.integer("quality"),
        method=WEBP_METHODS[call.text("method")],
    )
    return Result(ui={"images": [saved(target, path.name, "output")], "animated": [len(frames) != 1]})


@NODES.node("SaveAnimatedPNG")
def save_animated_png(call: Call) -> Result:
    """All pictures as the frames of one APNG; metadata is in private `comf` chunks after the pixels."""
    frames, target, path = _animation(call, "png")
    info = PngInfo()
    for key, value in metadata_entries(call.around):
        info.add(b"comf", key.encode("latin-1") + b"\0" + json.dumps(value).encode("latin-1"), after_idat=True)
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=_frame_milliseconds(call),
        pnginfo=info,
        compress_level=call.integer("compress_level"),
    )
    return Result(ui={"images": [saved(target, path.name, "output")], "animated": [True]})


@NODES.node("SaveImageWebsocket", fingerprint=lambda _inputs, _folders: None)
def save_image_websocket(call: Call) -> Result:
    """Images sent over the WebSocket, without files. ComfyUI runs this node in every prompt."""
    for picture in _pictures(call.image("images")):
        call.running.send_picture(picture)
    return Result()


@NODES.node("SaveText")
def save_text(call: Call) -> Result:
    """A text file in the output folder; the text is reported too."""
    text, around = call.text("text"), call.around
    target = next_save_target(around.folders.output, call.text("filename_prefix"), around.now())
    name = target.short_name(0, call.text("format"))
    (target.folder / name).write_text(text, encoding="utf-8")
    return Result((text,), ui={"text": [text], "files": [saved(target, name, "output")]})
