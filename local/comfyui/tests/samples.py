"""A small graph for every node that gives pictures, numbers or text: for comparing two servers, and as examples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from local_comfyui.json_types import Json, JsonObject

INPUTS = ("photo.png", "small.png", "alpha.png", "grey.png")
"""Names of the input pictures that samples use."""


def input_picture(name: str) -> NDArray[np.uint8]:
    """A picture with gradients, edges and noise; always the same for a name."""
    width, height, channels = {
        "photo.png": (61, 43, 3),
        "small.png": (24, 30, 3),
        "alpha.png": (40, 32, 4),
        "grey.png": (33, 21, 1),
    }[name]
    noise = np.random.default_rng(sum(name.encode())).integers(0, 256, (height, width, channels))
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 4 % 256, x * y % 256], axis=-1)
    mixed = np.where((x // 8 + y // 8)[..., np.newaxis] % 3 == 0, noise, smooth[..., :channels]).astype(np.uint8)
    return mixed[..., 0] if channels == 1 else mixed


@dataclass(frozen=True)
class Sample:
    """Node `class_type` with plain `values` and `links` to sources by name; every output is looked at."""

    class_type: str
    values: JsonObject
    links: dict[str, str]
    name: str


SOURCES: dict[str, tuple[JsonObject, int]] = {
    "photo": ({"class_type": "LoadImage", "inputs": {"image": "photo.png"}}, 0),
    "small": ({"class_type": "LoadImage", "inputs": {"image": "small.png"}}, 0),
    "alpha": ({"class_type": "LoadImage", "inputs": {"image": "alpha.png"}}, 0),
    "mask": ({"class_type": "LoadImageMask", "inputs": {"image": "photo.png", "channel": "red"}}, 0),
    "small_mask": ({"class_type": "LoadImageMask", "inputs": {"image": "small.png", "channel": "green"}}, 0),
    "alpha_mask": ({"class_type": "LoadImage", "inputs": {"image": "alpha.png"}}, 1),
    "empty": (
        {"class_type": "EmptyImage", "inputs": {"width": 20, "height": 12, "batch_size": 3, "color": 0x3366CC}},
        0,
    ),
}


def _sample(class_type: str, links: str, **values: Json) -> Sample:
    """`links` is "input=source input=source"."""
    pairs = dict(pair.split("=", 1) for pair in links.split())
    shown = ",".join(str(value) for value in values.values())
    return Sample(class_type, values, pairs, f"{class_type}({shown})")


METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
PORTER_DUFF = (
    "ADD CLEAR DARKEN DST DST_ATOP DST_IN DST_OUT DST_OVER LIGHTEN MULTIPLY OVERLAY SCREEN SRC SRC_ATOP SRC_IN SRC_OUT"
    " SRC_OVER XOR"
)


def samples() -> list[Sample]:
    """All of them."""
    found = [
        _sample("LoadImage", "", image="photo.png"),
        _sample("LoadImage", "", image="alpha.png"),
        _sample("LoadImage", "", image="grey.png"),
        *[
            _sample("LoadImageMask", "", image="alpha.png", channel=channel)
            for channel in ("alpha", "red", "green", "blue")
        ],
        _sample("LoadImageMask", "", image="grey.png", channel="alpha"),
        _sample("EmptyImage", "", width=5, height=3, batch_size=2, color=0x112233),
    ]
    for method in METHODS:
        for crop in ("disabled", "center"):
            for width, height in ((97, 71), (20, 33), (61, 100), (7, 5)):
                found.append(
                    _sample("ImageScale", "image=photo", upscale_method=method, width=width, height=height, crop=crop)
                )
        found += [
            _sample("ImageScale", "image=photo", upscale_method=method, width=0, height=50, crop="disabled"),
            _sample("ImageScale", "image=alpha", upscale_method=method, width=55, height=50, crop="disabled"),
            _sample("ImageScaleBy", "image=photo", upscale_method=method, scale_by=1.37),
            _sample("ImageScaleBy", "image=photo", upscale_method=method, scale_by=0.33),
            _sample(
                "ImageScaleToTotalPixels", "image=photo", upscale_method=method, megapixels=0.01, resolution_steps=1
            ),
            _sample("ImageScaleToMaxDimension", "image=photo", upscale_method=method, largest_size=100),
            _sample(
                "ResizeAndPadImage",
                "image=photo",
                target_width=80,
                target_height=90,
                padding_color="white",
                interpolation=method,
            ),
        ]
    found += [
        _sample("ImageCrop", "image=photo", width=20, height=20, x=10, y=5),
        _sample("ImageCrop", "image=photo", width=512, height=512, x=50, y=40),
        _sample("ImagePadForOutpaint", "image=photo", left=8, top=0, right=16, bottom=8, feathering=10),
        _sample("ImagePadForOutpaint", "image=photo", left=0, top=24, right=0, bottom=0, feathering=40),
        *[
            _sample("ImageFlip", "image=photo", flip_method=way)
            for way in ("x-axis: vertically", "y-axis: horizontally")
        ],
        *[
            _sample("ImageRotate", "image=photo", rotation=way)
            for way in ("none", "90 degrees", "180 degrees", "270 degrees")
        ],
        _sample("ImageInvert", "image=photo"),
        *[
            _sample("ImageBlend", "image1=photo image2=small", blend_factor=0.7, blend_mode=mode)
            for mode in ("normal", "multiply", "screen", "overlay", "soft_light", "difference")
        ],
        _sample("ImageBlur", "image=photo", blur_radius=1, sigma=1.0),
        _sample("ImageBlur", "image=photo", blur_radius=7, sigma=0.4),
        _sample("ImageSharpen", "image=photo", sharpen_radius=1, sigma=1.0, alpha=1.0),
        _sample("ImageSharpen", "image=photo", sharpen_radius=3, sigma=0.5, alpha=0.3),
        *[
            _sample("ImageQuantize", "image=photo", colors=colors, dither=dither)
            for colors in (3, 16)
            for dither in ("none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16")
        ],
        _sample("ImageAddNoise", "image=photo", seed=12345678901234, strength=0.5),
        _sample("ImageAddNoise", "image=empty", seed=7, strength=0.25),
        *[
            _sample(
                "ImageStitch",
                "image1=photo image2=small",
                direction=way,
                match_image_size=match,
                spacing_width=gap,
                spacing_color=color,
            )
            for way in ("right", "down", "left", "up")
            for match, gap, color in ((True, 0, "white"), (False, 6, "red"), (False, 3, "white"))
        ],
        _sample(
            "ImageStitch",
            "image1=photo image2=empty",
            direction="right",
            match_image_size=True,
            spacing_width=2,
            spacing_color="blue",
        ),
        _sample(
            "ImageCompositeMasked", "destination=photo source=small mask=small_mask", x=10, y=20, resize_source=False
        ),
        _sample("ImageCompositeMasked", "destination=photo source=small mask=mask", x=45, y=0, resize_source=False),
        _sample("ImageCompositeMasked", "destination=photo source=small mask=mask", x=0, y=0, resize_source=True),
        _sample("ImageCompositeMasked", "destination=photo source=small", x=3, y=4, resize_source=False),
        _sample(
            "ImageCompositeMasked", "destination=empty source=small mask=small_mask", x=3, y=4, resize_source=False
        ),
        *[
            _sample(
                "PorterDuffImageComposite",
                "source=small source_alpha=small_mask destination=photo destination_alpha=mask",
                mode=mode,
            )
            for mode in PORTER_DUFF.split()
        ],
        _sample("SplitImageWithAlpha", "image=photo"),
        _sample("JoinImageWithAlpha", "image=photo alpha=mask"),
        _sample("JoinImageWithAlpha", "image=photo alpha=small_mask"),
        _sample("JoinImageWithAlpha", "image=empty alpha=small_mask"),
        _sample("ImageBatch", "image1=photo image2=small"),
        _sample("ImageBatch", "image1=empty image2=photo"),
        _sample("RepeatImageBatch", "image=empty", amount=2),
        _sample("ImageFromBatch", "image=empty", batch_index=1, length=5),
        _sample("ImageFromBatch", "image=empty", batch_index=9, length=1),
        _sample("RebatchImages", "images=empty", batch_size=2),
        _sample("GetImageSize", "image=empty"),
        *[_sample("ImageToMask", "image=photo", channel=channel) for channel in ("red", "green", "blue")],
        _sample("MaskToImage", "mask=mask"),
        _sample("ImageColorToMask", "image=empty", color=0x3366CC),
        _sample("ImageColorToMask", "image=photo", color=0),
        _sample("SolidMask", "", value=0.3, width=9, height=4),
        _sample("InvertMask", "mask=mask"),
        _sample("CropMask", "mask=mask", x=4, y=5, width=10, height=100),
        *[
            _sample("MaskComposite", "destination=mask source=small_mask", x=x, y=5, operation=operation)
            for operation in ("multiply", "add", "subtract", "and", "or", "xor")
            for x in (4, 50)
        ],
        _sample("FeatherMask", "mask=mask", left=5, top=3, right=9, bottom=100),
        *[
            _sample("GrowMask", "mask=mask", expand=expand, tapered_corners=tapered)
            for expand in (3, -2)
            for tapered in (True, False)
        ],
        _sample("ThresholdMask", "mask=mask", value=0.5),
        *[
            _sample(f"Primitive{kind}", "", value=value)
            for kind, value in (
                ("Int", 7),
                ("Float", 1.5),
                ("String", "x"),
                ("StringMultiline", "a\nb"),
                ("Boolean", True),
            )
        ],
        _sample("StringConcatenate", "", string_a="a", string_b="b", delimiter=", "),
        _sample("StringSubstring", "", string="hello", start=1, end=-1),
        _sample("StringLength", "", string="héllo"),
        *[
            _sample("CaseConverter", "", string="hello big World", mode=mode)
            for mode in ("UPPERCASE", "lowercase", "Capitalize", "Title Case")
        ],
        *[_sample("StringTrim", "", string="  x ", mode=mode) for mode in ("Both", "Left", "Right")],
        _sample("StringReplace", "", string="aXbX", find="X", replace="--"),
        _sample("StringContains", "", string="Hello", substring="hell", case_sensitive=False),
        *[
            _sample("StringCompare", "", string_a="Hello", string_b="hello", mode=mode, case_sensitive=cased)
            for mode in ("Starts With", "Ends With", "Equal")
            for cased in (True, False)
        ],
        _sample(
            "RegexMatch", "", string="Abc", regex_pattern="b.", case_insensitive=True, multiline=False, dotall=False
        ),
        _sample(
            "RegexMatch", "", string="Abc", regex_pattern="(", case_insensitive=True, multiline=False, dotall=False
        ),
        *[
            _sample(
                "RegexExtract",
                "",
                string="a1 b2 c3",
                regex_pattern=pattern,
                mode=mode,
                case_insensitive=True,
                multiline=False,
                dotall=False,
                group_index=group,
            )
            for mode in ("First Match", "All Matches", "First Group", "All Groups")
            for pattern, group in ((r"[a-z]\d", 1), (r"([a-z])(\d)", 2), (r"([b-z])\d", 0), ("(", 1))
        ],
        _sample(
            "RegexReplace",
            "",
            string="a1 b2",
            regex_pattern=r"([a-z])(\d)",
            replace=r"\2\1",
            case_insensitive=True,
            multiline=False,
            dotall=False,
            count=1,
        ),
    ]
    return found
