"""Settings that shape what jobs may do and what they leave in their pictures."""

import pytest

from worker_gpu.policy import NodePolicy
from worker_gpu.settings import BadSetting, read_settings

URL = {"COMFYUI_URL": "http://x"}


def test_metadata_is_kept_unless_the_worker_is_told_not_to() -> None:
    assert read_settings(URL).comfyui_args == ()
    assert read_settings({**URL, "COMFYUI_DISABLE_METADATA": "true"}).comfyui_args == ("--disable-metadata",)
    twice = {**URL, "COMFYUI_DISABLE_METADATA": "1", "COMFYUI_ARGS": "--cpu --disable-metadata"}
    assert read_settings(twice).comfyui_args == ("--cpu", "--disable-metadata")


def test_half_a_bucket_is_a_bad_setting() -> None:
    with pytest.raises(BadSetting, match="BUCKET_ACCESS_KEY_ID"):
        read_settings({**URL, "BUCKET_ENDPOINT_URL": "https://x"})


@pytest.mark.parametrize(
    ("allow", "deny", "class_type", "permitted"),
    [
        ("", "", "Anything", True),
        ("Save*, KSampler", "", "SaveImage", True),
        ("Save*, KSampler", "", "LoadImage", False),
        ("", "Load*", "LoadImage", False),
        ("Load*", "LoadImage", "LoadImage", False),
    ],
)
def test_what_is_denied_wins_over_what_is_allowed(allow: str, deny: str, class_type: str, permitted: bool) -> None:
    assert NodePolicy.parse(allow, deny).permits(class_type) is permitted
