"""Any JSON as a prompt is validated without an exception, and an accepted prompt can be run and shown."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from local_comfyui.catalog import Catalog
from local_comfyui.folders import Folders
from local_comfyui.json_types import Json, JsonObject, as_object
from local_comfyui.nodes import load_nodes
from local_comfyui.results import Signatures
from local_comfyui.schedule import Schedule
from local_comfyui.validation import Accepted, Refused, validate

CATALOG = Catalog(load_nodes(probe_nodes=True))
FOLDERS = Folders(Path("/nonexistent/input"), Path("/nonexistent/output"), Path("/nonexistent/temp"))

scalars: st.SearchStrategy[Json] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 20000),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["area", "t", "red"]),
)
values: st.SearchStrategy[Json] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["__value__", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
ids = st.sampled_from(["1", "2", "3", "4"])
links: st.SearchStrategy[Json] = st.tuples(ids, st.integers(-1, 2)).map(lambda pair: [pair[0], pair[1]])
wrapped: st.SearchStrategy[Json] = links.map(lambda link: {"__value__": link})
classes = st.sampled_from([*CATALOG.implementations, "NoSuchNode", "KSampler"])


@st.composite
def nodes(draw: st.DrawFn) -> Json:
    """A node whose inputs are mostly the declared ones, linked or given, well or badly."""
    class_type = draw(classes)
    entry = CATALOG.entry(class_type, FOLDERS) or {}
    declared = as_object(entry.get("input")).values()
    names = [name for group in declared for name in as_object(group)] + ["undeclared"]
    inputs: JsonObject = {
        name: draw(st.one_of(links, links, wrapped, values)) for name in names if draw(st.integers(0, 9))
    }
    return {"class_type": class_type, "inputs": inputs}


prompts: st.SearchStrategy[JsonObject] = st.dictionaries(ids, st.one_of(nodes(), nodes(), nodes(), values), max_size=4)


@settings(max_examples=400, deadline=None)
@given(prompt=prompts)
def test_any_prompt_is_validated_without_an_exception(prompt: JsonObject) -> None:
    judged = validate(prompt, CATALOG, FOLDERS)
    if isinstance(judged, Refused):
        assert judged.error["type"]
        json.dumps([judged.error, judged.node_errors])
        return
    run_order(judged)


def run_order(judged: Accepted) -> None:
    """Every node that an output needs runs once, after its own inputs. The graph is plain JSON."""
    signatures = Signatures(judged.graph, CATALOG.implementations, FOLDERS)
    schedule = Schedule(judged.graph, lambda node: False, lambda node: CATALOG.is_output(judged.graph[node].class_type))
    for output in judged.outputs:
        schedule.add(output)
    taken: list[str] = []
    while (node := schedule.take()) is not None:
        assert node not in taken
        assert all(link.node in taken for _, link in judged.graph[node].links())
        signatures.of(node)
        taken.append(node)
        schedule.done(node)
    assert set(judged.outputs) <= set(taken)
    json.dumps([node.inputs for node in judged.graph.values()])


@settings(max_examples=200, deadline=None)
@given(edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16))
def test_cycle_is_found_and_other_graphs_can_run(edges: list[tuple[int, int]]) -> None:
    """Nodes 0..7 that each stitch two others or stand alone: accepted exactly when the output depends on no cycle."""
    graph: JsonObject = {}
    wanted: dict[int, list[int]] = {}
    for node, source in edges:
        wanted.setdefault(node, [])
        if len(wanted[node]) < 2:
            wanted[node].append(source)
    for node in range(8):
        sources = wanted.get(node, [])
        picture: JsonObject = {"width": 1, "height": 1, "batch_size": 1, "color": 0}
        if sources:
            inputs: JsonObject = {"image1": [str(sources[0]), 0], "image2": [str(sources[-1]), 0]}
            graph[str(node)] = {"class_type": "ImageBatch", "inputs": inputs}
        else:
            graph[str(node)] = {"class_type": "EmptyImage", "inputs": picture}
    graph["out"] = {"class_type": "PreviewImage", "inputs": {"images": ["0", 0]}}

    judged = validate(graph, CATALOG, FOLDERS)

    assert isinstance(judged, Accepted) == (not reaches_a_cycle(0, wanted, []))
    if isinstance(judged, Accepted):
        run_order(judged)


def reaches_a_cycle(node: int, wanted: dict[int, list[int]], path: list[int]) -> bool:
    if node in path:
        return True
    return any(reaches_a_cycle(source, wanted, [*path, node]) for source in wanted.get(node, []))
