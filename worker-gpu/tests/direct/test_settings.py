"""Settings for allowed nodes, metadata, the bucket and the start."""

from pathlib import Path

import pytest

from worker_gpu.job.node_policy import NodePolicy
from worker_gpu.json_readers import JsonObject, decode, maybe_list, maybe_object
from worker_gpu.settings import BadSetting, read_settings, start_advice

URL = {"COMFYUI_URL": "http://x"}


def test_metadata_is_kept_unless_the_worker_disables_it() -> None:
    assert read_settings(URL).comfyui_args == ()
    assert read_settings({**URL, "COMFYUI_DISABLE_METADATA": "true"}).comfyui_args == ("--disable-metadata",)
    twice = {**URL, "COMFYUI_DISABLE_METADATA": "1", "COMFYUI_ARGS": "--cpu --disable-metadata"}
    assert read_settings(twice).comfyui_args == ("--cpu", "--disable-metadata")


def test_incomplete_bucket_is_an_invalid_setting() -> None:
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
def test_denied_class_wins_over_an_allowed_one(allow: str, deny: str, class_type: str, permitted: bool) -> None:
    assert NodePolicy.parse(allow, deny).permits(class_type) is permitted


SHARED = Path(__file__).parents[3] / "test" / "fixtures" / "class-patterns.json"
CASES = [maybe_object(case) for case in maybe_list(decode(SHARED.read_text()))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['pattern']!a} for {case['name']!a}")
def test_class_pattern_matches_as_in_the_gateway(case: JsonObject) -> None:
    pattern, name = str(case["pattern"]), str(case["name"])
    assert NodePolicy(deny=(pattern,)).permits(name) is not case["matches"]
    assert NodePolicy(allow=(pattern,)).permits(name) is case["matches"]


def test_class_with_brackets_is_denied_by_its_name() -> None:
    policy = NodePolicy.parse("", "Load*, Terminal [unsafe]")
    assert [policy.permits(name) for name in ("Terminal [unsafe]", "LoadImage", "Terminal u")] == [False, False, True]


ON_RUNPOD = {"RUNPOD_ENDPOINT_ID": "e1"}


@pytest.mark.parametrize(
    ("env", "advised"),
    [
        ({}, None),
        ({"RUNPOD_INIT_TIMEOUT": "900"}, None),
        (ON_RUNPOD, "900"),
        ({**ON_RUNPOD, "RUNPOD_INIT_TIMEOUT": "900"}, None),
        ({**ON_RUNPOD, "RUNPOD_INIT_TIMEOUT": "600"}, "900"),
        ({**ON_RUNPOD, "RUNPOD_INIT_TIMEOUT": "800", "COMFYUI_START_TIMEOUT_S": "800"}, "1100"),
        ({**ON_RUNPOD, "COMFYUI_START_TIMEOUT_S": "300"}, None),
        ({**ON_RUNPOD, "RUNPOD_INIT_TIMEOUT": "soon"}, "900"),
    ],
)
def test_start_log_warns_of_an_init_timeout_below_that_of_comfyui(
    env: dict[str, str], advised: str | None, tmp_path: Path
) -> None:
    (tmp_path / "main.py").touch()
    own = {"COMFYUI_PATH": str(tmp_path), **env}
    advice = start_advice(own, read_settings(own))
    assert advice is None if advised is None else advice is not None and advice.count(f"to {advised} on") == 1
    elsewhere = {**URL, **env}
    assert start_advice(elsewhere, read_settings(elsewhere)) is None
