"""What the worker changes in a graph, and what it leaves alone."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_gpu.job.graph import RUN_INPUT, rewrite, safe_relative
from worker_gpu.json_readers import JsonObject, maybe_object

FOLDER = "job.1"


def only(inputs: JsonObject, stored: dict[str, str] | None = None) -> JsonObject:
    """The inputs of a one-node graph after rewriting."""
    graph: dict[str, JsonObject] = {"1": {"class_type": "X", "inputs": inputs}}
    return maybe_object(maybe_object(rewrite(graph, FOLDER, stored or {})["1"])["inputs"])


@pytest.mark.parametrize(
    ("prefix", "stored"),
    [
        ("t", "job.1/t"),
        ("video/v", "job.1/video/v"),
        ("%date:yyyy-MM-dd%/x", "job.1/%date:yyyy-MM-dd%/x"),
        ("", "job.1/ComfyUI"),
        ("folder/", "job.1/folder"),
        ("/etc/x", "job.1/etc/x"),
        ("../../x", "job.1/x"),
        ("a/../b", "job.1/a/b"),
        ("..\\..\\x", "job.1/x"),
        ("C:\\temp\\x", "job.1/temp/x"),
        ("a\0b", "job.1/ab"),
    ],
)
def test_a_save_prefix_goes_below_the_jobs_folder(prefix: str, stored: str) -> None:
    assert only({"filename_prefix": prefix}) == {"filename_prefix": stored}


def test_a_computed_prefix_gets_the_folder_in_front_when_it_is_computed() -> None:
    graph: dict[str, JsonObject] = {"1": {"class_type": "X", "inputs": {"filename_prefix": ["3", 0]}}}
    after = rewrite(graph, FOLDER, {}, ["StringConcatenate"])
    assert after == {
        "1": {"class_type": "X", "inputs": {"filename_prefix": ["1-filename_prefix", 0]}},
        "1-filename_prefix": {
            "class_type": "StringConcatenate",
            "inputs": {"string_a": "job.1/", "string_b": ["3", 0], "delimiter": ""},
        },
    }


def test_a_computed_prefix_stays_as_it_is_where_comfyui_cannot_concatenate() -> None:
    assert only({"filename_prefix": ["3", 0]}) == {"filename_prefix": ["3", 0]}


def test_only_a_value_that_is_exactly_the_name_is_an_input_file() -> None:
    inputs: JsonObject = {"image": "a.png", "mask": "a.png [input]", "text": "see a.png", "n": 1, "link": ["a.png", 0]}
    assert only(inputs, {"a.png": "stored/a.png"}) == {**inputs, "image": "stored/a.png"}


def test_names_inside_lists_and_objects_are_input_files_too() -> None:
    inputs: JsonObject = {"files": ["a.png", "b"], "deep": {"x": ["a.png"]}}
    assert only(inputs, {"a.png": "s"}) == {"files": ["s", "b"], "deep": {"x": ["s"]}}


@pytest.mark.parametrize(
    ("class_type", "inputs", "after"),
    [
        ("SaveLoRA", {"prefix": "loras/x"}, {"prefix": "job.1/loras/x"}),
        ("SaveLoRANode", {"prefix": "../x", "steps": 3}, {"prefix": "job.1/x", "steps": 3}),
        ("Captions", {"prefix": "a photo of"}, {"prefix": "a photo of"}),
        (
            "SaveImageDataSetToFolder",
            {"folder_name": "dataset", "filename_prefix": "image"},
            {"folder_name": "job.1/dataset", "filename_prefix": "image"},
        ),
        (
            "SaveImageTextDataSetToFolder",
            {"filename_prefix": "../../image", "folder_name": "/etc"},
            {"filename_prefix": "image", "folder_name": "job.1/etc"},
        ),
        (
            "Image Save",
            {"output_path": "[time(%Y-%m-%d)]", "filename_prefix": "ComfyUI"},
            {"output_path": "job.1/[time(%Y-%m-%d)]", "filename_prefix": "ComfyUI"},
        ),
        ("SaveTrainingDataset", {"folder_name": "faces"}, {"folder_name": "job.1/faces"}),
        ("LoadSomething", {"folder_name": "faces"}, {"folder_name": "faces"}),
    ],
)
def test_a_path_in_another_input_goes_below_the_jobs_folder(
    class_type: str, inputs: JsonObject, after: JsonObject
) -> None:
    graph: dict[str, JsonObject] = {"1": {"class_type": class_type, "inputs": inputs}}
    assert maybe_object(rewrite(graph, FOLDER, {})["1"])["inputs"] == after


def test_a_computed_folder_gets_the_jobs_folder_in_front_and_the_prefix_stays() -> None:
    inputs: JsonObject = {"folder_name": ["3", 0], "filename_prefix": "image"}
    graph: dict[str, JsonObject] = {"1": {"class_type": "SaveImageDataSetToFolder", "inputs": inputs}}
    after = rewrite(graph, FOLDER, {}, ["StringConcatenate"])
    assert maybe_object(after["1"])["inputs"] == {"folder_name": ["1-folder_name", 0], "filename_prefix": "image"}
    assert maybe_object(after["1-folder_name"])["class_type"] == "StringConcatenate"


def test_an_output_node_without_a_path_runs_in_every_job() -> None:
    graph: dict[str, JsonObject] = {
        "1": {"class_type": "MakeModel", "inputs": {}},
        "2": {"class_type": "Show", "inputs": {"model": ["1", 0]}},
        "3": {"class_type": "ShowAndPass", "inputs": {"model": ["1", 0]}},
        "4": {"class_type": "Show", "inputs": {"model": ["3", 0], "filename_prefix": "x"}},
        "5": {"class_type": "NoOutput", "inputs": {}},
        "6": {"class_type": "Show"},
    }
    made = rewrite(graph, FOLDER, {}, (), {"Show", "ShowAndPass"})
    marked = [node for node, about in made.items() if RUN_INPUT in maybe_object(maybe_object(about).get("inputs"))]
    assert marked == ["2", "3"]
    assert maybe_object(maybe_object(made["2"])["inputs"])[RUN_INPUT] == FOLDER


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
graphs = st.dictionaries(
    st.text(min_size=1, max_size=4),
    st.fixed_dictionaries(
        {
            "class_type": st.text(max_size=6),
            "inputs": st.dictionaries(st.sampled_from(["filename_prefix", "image", "x"]), json_values, max_size=3),
        }
    ),
    max_size=4,
)


@given(graph=graphs, name=st.text(min_size=1, max_size=8))
def test_nothing_but_prefixes_and_input_names_changes(graph: dict[str, JsonObject], name: str) -> None:
    before = copy.deepcopy(graph)
    after = rewrite(graph, FOLDER, {name: name})

    assert graph == before
    assert list(after) == list(graph)
    for node_id, node in graph.items():
        changed = maybe_object(after[node_id])
        assert changed["class_type"] == node["class_type"]
        given_inputs, inputs = maybe_object(node["inputs"]), maybe_object(changed["inputs"])
        for key, value in given_inputs.items():
            if key == "filename_prefix" and isinstance(value, str):
                assert str(inputs[key]).startswith(f"{FOLDER}/")
            else:
                assert inputs[key] == value


@given(prefix=st.text(alphabet=st.sampled_from([*"ab./\\: \0~%"]), max_size=20))
def test_no_prefix_leaves_its_folder(prefix: str) -> None:
    parts = safe_relative(prefix).split("/")
    assert parts
    assert all(part.strip() not in ("", ".", "..") for part in parts)
    assert "\\" not in safe_relative(prefix)
    assert "\0" not in safe_relative(prefix)
