"""Nodes that move, join and lay pictures, against the pixels they must give."""

import numpy as np
import pytest

from local_comfyui.nodes.registry import WrongInput, is_list
from local_comfyui.pixels.composite import PORTER_DUFF
from local_comfyui.pixels.resize import resize
from tests.nodes import Watched, array, noise, only, run


def test_empty_image_is_one_color() -> None:
    image = only(run("EmptyImage", width=4, height=3, batch_size=2, color=0x336699))
    assert image.shape == (2, 3, 4, 3)
    assert (image == np.array([0x33, 0x66, 0x99], np.float32) / np.float32(255)).all()


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(10, 20, (20, 10)), (0, 10, (10, 15)), (30, 0, (20, 30)), (0, 0, (8, 12)), (0, 1, (1, 2))],
)
def test_scale_keeps_the_aspect_where_a_side_is_0(width: int, height: int, expected: tuple[int, int]) -> None:
    image = noise(1, 8, 12, 3)
    found = only(run("ImageScale", image=image, upscale_method="area", width=width, height=height, crop="disabled"))
    assert found.shape == (1, *expected, 3)


def test_other_scalings_differ_only_in_how_they_name_the_size() -> None:
    image = noise(1, 20, 30, 3)
    by = only(run("ImageScaleBy", image=image, upscale_method="bicubic", scale_by=1.5))
    np.testing.assert_array_equal(by, resize(image, 45, 30, "bicubic", "disabled"))
    total = only(run("ImageScaleToTotalPixels", image=image, upscale_method="area", megapixels=0.01))
    assert total.shape == (1, 84, 125, 3)  # sqrt(10485 / 600) = 4.180 times as large
    longest = only(run("ImageScaleToMaxDimension", image=image, upscale_method="area", largest_size=60))
    assert longest.shape == (1, 40, 60, 3)


def test_resize_and_pad_centres_the_picture() -> None:
    image = noise(1, 10, 20, 3)
    found = only(
        run(
            "ResizeAndPadImage",
            image=image,
            target_width=40,
            target_height=30,
            padding_color="white",
            interpolation="area",
        )
    )
    assert (found[:, :5] == 1).all() and (found[:, 25:] == 1).all()
    np.testing.assert_array_equal(found[:, 5:25], resize(image, 40, 20, "area", "disabled"))


def test_crop_stays_inside_the_picture() -> None:
    image = noise(1, 8, 9, 3)
    np.testing.assert_array_equal(only(run("ImageCrop", image=image, width=3, height=2, x=1, y=4)), image[:, 4:6, 1:4])
    np.testing.assert_array_equal(
        only(run("ImageCrop", image=image, width=99, height=99, x=50, y=50)), image[:, 7:, 8:]
    )


def test_flip_and_rotate() -> None:
    image = noise(1, 2, 3, 3)
    np.testing.assert_array_equal(only(run("ImageFlip", image=image, flip_method="x-axis: vertically")), image[:, ::-1])
    np.testing.assert_array_equal(
        only(run("ImageFlip", image=image, flip_method="y-axis: horizontally")), image[:, :, ::-1]
    )
    turned = only(run("ImageRotate", image=image, rotation="90 degrees"))
    assert turned.shape == (1, 3, 2, 3)
    np.testing.assert_array_equal(
        turned[0, 0, 1], image[0, 0, 0]
    )  # clockwise: the top left corner comes to the top right
    half = only(run("ImageRotate", image=image, rotation="180 degrees"))
    np.testing.assert_array_equal(half, image[:, ::-1, ::-1])
    back = only(run("ImageRotate", image=turned, rotation="270 degrees"))
    np.testing.assert_array_equal(back, image)


def test_outpaint_border_is_grey_and_its_mask_fades_into_the_picture() -> None:
    image = noise(1, 10, 12, 3)
    result = run("ImagePadForOutpaint", image=image, left=4, top=0, right=0, bottom=2, feathering=3)
    padded, mask = array(result.outputs[0]), array(result.outputs[1])
    assert padded.shape == (1, 12, 16, 3) and mask.shape == (1, 12, 16)
    np.testing.assert_array_equal(padded[:, :10, 4:], image)
    assert (padded[:, :, :4] == 0.5).all() and (padded[:, 10:] == 0.5).all()
    expected = np.ones((12, 16))
    for y in range(10):
        for x in range(12):
            nearest = min(x, 10 - y)  # only the padded sides, left and bottom, count
            expected[y, 4 + x] = max(3 - nearest, 0) ** 2 / 9
    np.testing.assert_allclose(mask[0], expected, atol=1e-6)


def test_stitch_without_a_second_picture_changes_nothing() -> None:
    image = noise(1, 4, 4, 3)
    found = run(
        "ImageStitch", image1=image, direction="right", match_image_size=True, spacing_width=0, spacing_color="white"
    )
    np.testing.assert_array_equal(only(found), image)


@pytest.mark.parametrize("direction", ["right", "left", "down", "up"])
def test_stitch_puts_the_second_picture_on_the_named_side(direction: str) -> None:
    first, second = noise(1, 4, 6, 3), noise(1, 4, 6, 3, seed=2)
    found = only(
        run(
            "ImageStitch",
            image1=first,
            image2=second,
            direction=direction,
            match_image_size=False,
            spacing_width=3,
            spacing_color="red",
        )
    )
    axis = 2 if direction in ("right", "left") else 1
    before, gap, after = np.split(found, [found.shape[axis] // 2 - 2, found.shape[axis] // 2 + 2], axis=axis)
    assert (gap == np.array([1, 0, 0], np.float32)).all()  # an odd gap is made even
    np.testing.assert_array_equal(before, second if direction in ("left", "up") else first)
    np.testing.assert_array_equal(after, first if direction in ("left", "up") else second)


def test_stitch_repeats_the_last_picture_of_the_shorter_batch_and_adds_opaque_alpha() -> None:
    first, second = noise(3, 4, 4, 3), noise(1, 2, 2, 4)
    found = only(
        run(
            "ImageStitch",
            image1=first,
            image2=second,
            direction="right",
            match_image_size=True,
            spacing_width=0,
            spacing_color="white",
        )
    )
    assert found.shape == (3, 4, 8, 4)
    assert (found[:, :, :4, 3] == 1).all()
    np.testing.assert_array_equal(found[2, :, 4:], found[0, :, 4:])


def test_paste_weighs_by_the_mask_and_ends_at_the_border() -> None:
    below, above, mask = noise(1, 6, 7, 3), noise(1, 4, 4, 3, seed=2), noise(1, 4, 4, seed=3)
    found = only(run("ImageCompositeMasked", destination=below, source=above, mask=mask, x=5, y=1, resize_source=False))
    expected = below.copy()
    weight = mask[:, :, :2, np.newaxis]
    expected[:, 1:5, 5:7] = above[:, :, :2] * weight + below[:, 1:5, 5:7] * (1 - weight)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    outside = run("ImageCompositeMasked", destination=below, source=above, x=7, y=0, resize_source=False)
    np.testing.assert_array_equal(only(outside), below)


def test_paste_can_stretch_the_source_over_everything() -> None:
    below, above = noise(2, 6, 7, 3), noise(1, 3, 3, 3, seed=2)
    found = only(run("ImageCompositeMasked", destination=below, source=above, x=0, y=0, resize_source=True))
    np.testing.assert_array_equal(found[1:], resize(above, 7, 6, "bilinear", "disabled"))


def porter_duff_by_hand(mode: str, s: float, sa: float, d: float, da: float) -> tuple[float, float]:
    """Premultiplied colour and alpha: source times its share plus destination times its share."""
    source_only, destination_only = 1 - da, 1 - sa
    shares = {
        "CLEAR": (0, 0),
        "SRC": (1, 0),
        "DST": (0, 1),
        "SRC_OVER": (1, destination_only),
        "DST_OVER": (source_only, 1),
        "SRC_IN": (da, 0),
        "DST_IN": (0, sa),
        "SRC_OUT": (source_only, 0),
        "DST_OUT": (0, destination_only),
        "SRC_ATOP": (da, destination_only),
        "DST_ATOP": (source_only, sa),
        "XOR": (source_only, destination_only),
    }
    fs, fd = shares[mode]
    return s * sa * fs + d * da * fd, sa * fs + da * fd


@pytest.mark.parametrize(
    "mode", [mode for mode in PORTER_DUFF if mode not in ("ADD", "DARKEN", "LIGHTEN", "MULTIPLY", "OVERLAY", "SCREEN")]
)
def test_porter_duff_operators(mode: str) -> None:
    source, destination = noise(1, 4, 5, 3), noise(1, 4, 5, 3, seed=2)
    source_mask, destination_mask = noise(1, 4, 5, seed=3), noise(1, 4, 5, seed=4)
    result = run(
        "PorterDuffImageComposite",
        source=source, source_alpha=source_mask, destination=destination, destination_alpha=destination_mask, mode=mode,
    )  # fmt: skip
    image, mask = array(result.outputs[0]), array(result.outputs[1])
    for y in range(4):
        for x in range(5):
            sa, da = 1 - float(source_mask[0, y, x]), 1 - float(destination_mask[0, y, x])
            for c in range(3):
                color, alpha = porter_duff_by_hand(
                    mode, float(source[0, y, x, c]), sa, float(destination[0, y, x, c]), da
                )
                assert mask[0, y, x] == pytest.approx(1 - alpha, abs=1e-5)
                assert image[0, y, x, c] == pytest.approx(color / alpha if alpha > 1e-5 else 0, abs=1e-4)


def test_alpha_splits_and_joins() -> None:
    image = noise(1, 4, 5, 4)
    result = run("SplitImageWithAlpha", image=image)
    color, mask = array(result.outputs[0]), array(result.outputs[1])
    np.testing.assert_array_equal(color, image[..., :3])
    np.testing.assert_array_equal(mask, 1 - image[..., 3])
    np.testing.assert_allclose(only(run("JoinImageWithAlpha", image=color, alpha=mask)), image, atol=1e-6)
    opaque = array(run("SplitImageWithAlpha", image=image[..., :3]).outputs[1])
    assert (opaque == 0).all()


def test_joining_repeats_the_shorter_batch() -> None:
    found = only(run("JoinImageWithAlpha", image=noise(1, 4, 4, 3), alpha=noise(3, 4, 4)))
    assert found.shape == (3, 4, 4, 4)
    np.testing.assert_array_equal(found[0, ..., :3], found[2, ..., :3])


def test_batches_are_joined_repeated_and_cut() -> None:
    first, second = noise(2, 4, 6, 3), noise(1, 8, 8, 4)
    joined = only(run("ImageBatch", image1=first, image2=second))
    assert joined.shape == (3, 4, 6, 4)
    np.testing.assert_array_equal(joined[:2, ..., :3], first)
    assert (joined[:2, ..., 3] == 1).all()
    repeated = only(run("RepeatImageBatch", image=first, amount=2))
    np.testing.assert_array_equal(repeated, np.concatenate([first, first]))
    np.testing.assert_array_equal(only(run("ImageFromBatch", image=repeated, batch_index=1, length=2)), repeated[1:3])
    np.testing.assert_array_equal(only(run("ImageFromBatch", image=repeated, batch_index=99, length=9)), repeated[3:])


def test_rebatching_goes_across_the_batches_of_a_list() -> None:
    first, second = noise(2, 3, 3, 3), noise(3, 3, 3, 3, seed=2)
    (batches,) = run("RebatchImages", images=[first, second], batch_size=[2]).outputs
    assert is_list(batches)
    assert [array(batch).shape[0] for batch in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([array(batch) for batch in batches]), np.concatenate([first, second]))


def test_the_size_is_given_and_shown() -> None:
    watched = Watched()
    assert run("GetImageSize", None, watched, image=noise(2, 3, 4, 3)).outputs == (4, 3, 2)
    assert watched.texts == ["width: 4, height: 3\n batch size: 2"]


def test_a_wrong_kind_of_value_on_a_link_is_named() -> None:
    with pytest.raises(WrongInput, match="image: expected an image, got str"):
        run("ImageInvert", image="no picture")
