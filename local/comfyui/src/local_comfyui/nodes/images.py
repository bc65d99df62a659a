"""Nodes that bring pictures into a graph: files and empty images."""

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from local_comfyui.nodes.files import complaint_about, digest_of, named_file
from local_comfyui.nodes.registry import Call, Result, Theme
from local_comfyui.pixels.types import Pixels, from_bytes8

NODES = Theme()

NO_MASK_SIZE = 64
"""Side of the empty mask that stands for a picture without transparency."""


def _open(call: Call) -> Image.Image:
    return Image.open(named_file(call, "image"))


def _narrow(image: Image.Image) -> Image.Image:
    """16-bit and wider grey brought to 8 bits the way ComfyUI does it."""
    return image.point(lambda value: value * (1 / 255)) if image.mode == "I" else image


def _transparency(image: Image.Image) -> Pixels:
    if "A" in image.getbands():
        return 1 - from_bytes8(np.asarray(image.getchannel("A")))
    if image.mode == "P" and "transparency" in image.info:
        return 1 - from_bytes8(np.asarray(image.convert("RGBA").getchannel("A")))
    return np.zeros((NO_MASK_SIZE, NO_MASK_SIZE), np.float32)


@NODES.node("LoadImage", checked="image", check=complaint_about("image"), fingerprint=digest_of("image"))
@NODES.node("LoadImageOutput", checked="image", check=complaint_about("image"), fingerprint=digest_of("image"))
def load_image(call: Call) -> Result:
    """Every frame of a file as RGB, and its transparency as a mask (1 where transparent)."""
    pictures: list[Pixels] = []
    masks: list[Pixels] = []
    with _open(call) as file:
        for raw in ImageSequence.Iterator(file):
            frame = ImageOps.exif_transpose(raw)
            picture = from_bytes8(np.asarray(_narrow(frame).convert("RGB")))
            if pictures and picture.shape != pictures[0].shape:
                continue
            pictures.append(picture)
            masks.append(_transparency(frame))
            if file.format == "MPO":  # further pictures of an MPO are other views, not frames
                break
    return Result((np.stack(pictures), np.stack(masks)))


@NODES.node("LoadImageMask", checked="image", check=complaint_about("image"), fingerprint=digest_of("image"))
def load_image_mask(call: Call) -> Result:
    """One channel of a file as a mask; alpha is inverted, and a channel that is missing gives an empty mask."""
    with _open(call) as file:
        image = ImageOps.exif_transpose(file)
        if image.getbands() != ("R", "G", "B", "A"):
            image = _narrow(image).convert("RGBA")
        band = call.text("channel")[0].upper()
        values = from_bytes8(np.asarray(image.getchannel(band)))
    return Result(((1 - values if band == "A" else values)[np.newaxis],))


@NODES.node("EmptyImage")
def empty_image(call: Call) -> Result:
    """A batch of one colour, given as 0xRRGGBB."""
    color = call.integer("color")
    shape = (call.integer("batch_size"), call.integer("height"), call.integer("width"), 3)
    picture = np.empty(shape, np.float32)
    picture[...] = [(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)]
    return Result((picture,))
