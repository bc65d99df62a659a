"""What the worker says of node classes, from ComfyUI's `/object_info`."""

from pathlib import Path

import pytest

from fakes.comfy import playing
from fakes.harness import job_harness
from fakes.recordings import recording
from worker_gpu.json_readers import JsonObject

pytestmark = pytest.mark.asyncio

NODES: JsonObject = {
    "Save": {"input": {"required": {"images": ["IMAGE"], "format": [["png", "jpeg"]]}}, "output_node": True},
    "Join": {
        "input": {
            "required": {"values": ["COMFY_AUTOGROW_V3", {}], "any": ["COMFY_MATCHTYPE_V3", {}], "by": ["STRING", {}]},
            "optional": {"more": ["STRING"]},
            "hidden": {"prompt": "PROMPT"},
        },
        "output_node": False,
    },
    "Plain": {"input": {}, "output_node": False},
    "Odd": {"input": {"required": {"a": [], "b": "STRING"}}},
    "Broken": None,
}


async def test_facts_name_output_nodes_and_the_inputs_that_a_graph_must_hold(tmp_path: Path) -> None:
    case = recording("success_image")
    async with job_harness(tmp_path, playing(case), case.graph) as harness:
        harness.comfy.nodes = NODES
        catalog = await harness.context.client.catalog()

    assert catalog.classes == ("Broken", "Join", "Odd", "Plain", "Save")
    assert catalog.facts() == {
        "Join": {"required": ["any", "by"]},
        "Odd": {"required": ["a", "b"]},
        "Save": {"output": True, "required": ["images", "format"]},
    }
