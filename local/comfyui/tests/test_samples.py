"""Every sample graph runs here, so that a comparison with another server compares results, not errors."""

import pytest

from local_comfyui.json_types import as_object
from tests.compare import graph_of
from tests.samples import INPUTS, input_picture, samples
from tests.server import Server

NOT_SAMPLED = {
    "LoadImageOutput": "loads like LoadImage, from the output folder",
    "SlowSteps": "replayed",
    "Explode": "replayed",
}
"""Executed nodes without a sample, and why. Nodes that write files have tests of their own."""


@pytest.mark.asyncio
async def test_every_sample_gives_every_output(server: Server) -> None:
    for name in INPUTS:
        server.put_input(name, input_picture(name))
    for sample in samples():
        kinds = as_object(server.engine.catalog.entry(sample.class_type, server.engine.folders))["output"]
        assert isinstance(kinds, list)
        graph = graph_of(sample, [str(kind) for kind in kinds])
        entry = await server.run(graph)
        assert as_object(entry["status"])["status_str"] == "success", sample.name
        assert set(as_object(entry["outputs"])) == {f"out{slot}" for slot in range(len(kinds))}, sample.name


@pytest.mark.asyncio
async def test_every_node_that_gives_pictures_numbers_or_text_has_a_sample(server: Server) -> None:
    catalog = server.engine.catalog
    sampled = {sample.class_type for sample in samples()}
    for name in catalog.implementations:
        entry = as_object(catalog.entry(name, server.engine.folders))
        outputs = entry["output"]
        assert isinstance(outputs, list)
        plain = bool(outputs) and not {"VIDEO", "AUDIO"} & {str(kind) for kind in outputs} and not entry["output_node"]
        assert not plain or name in sampled or name in NOT_SAMPLED, name
