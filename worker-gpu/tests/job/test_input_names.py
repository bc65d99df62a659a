"""What an input file is called where it is stored: a loader goes by its extension."""

import pytest

from worker_gpu.job.inputs import safe_filename


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("photo.png", "photo.png"),
        ("pasted/image (1).png", "image_1_.png"),
        ("clipspace/clipspace-mask-1234.5.png [input]", "clipspace-mask-1234.5.png"),
        ("clip.mp4 [output]", "clip.mp4"),
        ("sub\\x.png", "x.png"),
        (".hidden", "hidden"),
    ],
)
def test_stored_name_keeps_the_extension(name: str, stored: str) -> None:
    assert safe_filename(name) == stored
