"""ComfyUI's frames and the state machine behind them: no order of messages breaks a rule."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.recordings import all_recordings, recording
from worker_gpu.comfy.failure import raised, refused
from worker_gpu.comfy.frames import PreviewFrame, parse_frame
from worker_gpu.comfy.history_status import Failed, Missing, Pending, Succeeded, Unreadable, read_history, read_job
from worker_gpu.comfy.messages import parse_message
from worker_gpu.comfy.prompt_state import NodeOutput, Progressed, PromptState, RunEnded
from worker_gpu.errors import JobError
from worker_gpu.json_readers import JsonObject, maybe_object

PROMPT = "p"
NODES = {"1": "A", "2": "B", "3": "C"}


@given(frame=st.binary(max_size=64))
def test_no_binary_frame_breaks_the_parser(frame: bytes) -> None:
    found = parse_frame(frame)
    assert found is None or found.image != b""


@given(
    image=st.binary(min_size=1, max_size=40),
    node=st.text(min_size=1, max_size=8),
    kind=st.sampled_from(["image/jpeg", "image/png"]),
)
def test_a_preview_with_metadata_is_read_back(image: bytes, node: str, kind: str) -> None:
    about = json.dumps({"node_id": "inner", "display_node_id": node, "prompt_id": PROMPT, "image_type": kind}).encode()
    frame = struct.pack(">II", 4, len(about)) + about + image
    assert parse_frame(frame) == PreviewFrame(kind, image, node, PROMPT)


@pytest.mark.parametrize(("number", "kind"), [(1, "image/jpeg"), (2, "image/png")])
def test_an_old_preview_names_no_node(number: int, kind: str) -> None:
    assert parse_frame(struct.pack(">II", 1, number) + b"x") == PreviewFrame(kind, b"x")


def test_recorded_previews_are_pictures() -> None:
    frames = [f for r in all_recordings() for f in r.frames if isinstance(f, bytes)]
    previews = [parse_frame(frame) for frame in frames]
    assert previews
    assert all(p is not None and p.image.startswith(b"\xff\xd8") for p in previews)
    assert len(base64.b64encode(frames[0])) > 0


@given(text=st.text(max_size=60) | st.recursive(st.none() | st.integers(), st.lists, max_leaves=4).map(json.dumps))
def test_no_text_frame_breaks_the_parser(text: str) -> None:
    parse_message(text)


def test_every_recorded_message_about_a_prompt_is_understood() -> None:
    unused = {"status", "feature_flags"}
    for recorded in all_recordings():
        for frame in recorded.frames:
            if isinstance(frame, str):
                kind = json.loads(frame)["type"]
                assert (parse_message(frame) is None) == (kind in unused), kind


# Any message about any prompt and node, in any order.
prompts = st.sampled_from([PROMPT, PROMPT, PROMPT, "another"])
nodes = st.sampled_from([*NODES, "1.0.7"])
states = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["pending", "running", "finished", "error", "unheard-of"]),
        "value": st.floats(-1, 5),
        "max": st.floats(0, 4),
        "display_node_id": st.sampled_from([*NODES]),
    }
)


def message(kind: str, **fields: "st.SearchStrategy[Any]") -> "st.SearchStrategy[tuple[str, JsonObject]]":
    """Messages of one type whose data have these fields."""

    def typed(data: JsonObject) -> tuple[str, JsonObject]:
        return kind, data

    return st.fixed_dictionaries(fields).map(typed)


messages = st.one_of(
    message("execution_start", prompt_id=prompts),
    message("execution_cached", prompt_id=prompts, nodes=st.lists(nodes, max_size=3)),
    message("executing", prompt_id=prompts, node=st.none() | nodes),
    message("executing", node=nodes),
    message("progress", prompt_id=prompts, node=nodes, value=st.integers(0, 6), max=st.just(4)),
    message("progress_state", prompt_id=prompts, nodes=st.dictionaries(nodes, states)),
    message("executed", prompt_id=prompts, node=nodes, output=st.just({"text": ["x"]})),
    message("execution_success", prompt_id=prompts),
)
DONE = Succeeded({"2": {"text": ["x"]}}, {})
sights = st.sampled_from([Pending(running=False), Pending(running=True), Missing(), Unreadable(), DONE])


@given(events=st.lists(messages | sights, max_size=40))
def test_progress_never_falls_and_a_run_ends_once(
    events: "list[tuple[str, JsonObject] | Pending | Missing | Unreadable | Succeeded]",
) -> None:
    run = PromptState(PROMPT, NODES)
    values: list[float] = []
    ends = 0
    for event in [*events, DONE]:
        if isinstance(event, tuple):
            message = parse_message(json.dumps({"type": event[0], "data": event[1]}))
            found = run.on_message(message) if message is not None else []
        else:
            found = run.on_history_status(event)
        for event in found:
            assert ends == 0, "nothing happens after the end"
            if isinstance(event, Progressed):
                values.append(event.progress.value)
                assert set(event.progress.nodes) <= set(NODES)
                assert event.progress.nodes_done <= event.progress.nodes_total == len(NODES)
            if isinstance(event, NodeOutput):
                assert event.node in {*NODES, "1.0.7"}
            if isinstance(event, RunEnded):
                ends += 1
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)
    assert ends == 1


def test_one_look_that_finds_nothing_is_not_the_end() -> None:
    run = PromptState(PROMPT, NODES)
    run.on_history_status(Missing())
    run.on_history_status(Pending(running=True))
    run.on_history_status(Missing())
    assert not run.ended
    (ended,) = run.on_history_status(Missing())
    assert isinstance(ended, RunEnded)
    assert isinstance(ended.error, JobError)
    assert ended.error.code == "comfyui_unavailable"


def test_a_blocked_output_is_no_failure_while_the_prompt_goes_on() -> None:
    """An ExecutionBlocker is reported as execution_error; the history of the prompt says success."""
    run = PromptState(PROMPT, NODES)
    blocked = {"prompt_id": PROMPT, "node_id": "2", "exception_type": "ExecutionBlocked", "exception_message": "no"}
    message = parse_message(json.dumps({"type": "execution_error", "data": blocked}))
    assert message is not None
    run.on_message(message)
    assert not run.ended
    ended = run.on_history_status(DONE)[-1]
    assert isinstance(ended, RunEnded)
    assert ended.error is None


def test_versions_without_progress_state_count_nodes_as_they_begin() -> None:
    run = PromptState(PROMPT, NODES)
    values: list[float] = []
    said: list[tuple[str, JsonObject]] = [
        ("execution_cached", {"nodes": ["1"]}),
        ("executing", {"node": "2"}),
        ("progress", {"node": "2", "value": 1, "max": 2}),
        ("executing", {"node": "3"}),
    ]
    for kind, data in said:
        message = parse_message(json.dumps({"type": kind, "data": {**data, "prompt_id": PROMPT}}))
        assert message is not None
        values += [h.progress.value for h in run.on_message(message) if isinstance(h, Progressed)]
    assert [round(value, 2) for value in values] == [0.33, 0.33, 0.5, 0.67]


def test_nodes_made_by_expansion_are_told_by_the_node_they_stand_for() -> None:
    run = PromptState(PROMPT, NODES)
    data: JsonObject = {"prompt_id": PROMPT, "node": "2.0.5", "display_node": "2", "output": {"images": []}}
    message = parse_message(json.dumps({"type": "executed", "data": data}))
    assert message is not None
    assert NodeOutput("2", {"images": []}) in run.on_message(message)


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("torch.OutOfMemoryError", "Allocation on device", "out_of_memory"),
        ("torch.cuda.OutOfMemoryError", "", "out_of_memory"),
        ("MemoryError", "", "out_of_memory"),
        ("RuntimeError", "CUDA out of memory. Tried to allocate", "out_of_memory"),
        ("RuntimeError", "DefaultCPUAllocator: not enough memory", "out_of_memory"),
        ("ValueError", "bad value", "execution_error"),
    ],
)
def test_memory_is_told_from_other_errors(kind: str, message: str, code: str) -> None:
    error = raised({"exception_type": kind, "exception_message": message, "node_id": "1", "node_type": "X"})
    assert error.code == code


def test_an_error_carries_no_path_traceback_or_host() -> None:
    error = raised(
        {
            "exception_type": "FileNotFoundError",
            "exception_message": "No such file: '/workspace/ComfyUI/models/loras/my.safetensors' at http://10.0.0.7:8188/x\n"
            'Traceback (most recent call last):\n  File "/app/x.py"',
            "traceback": ['  File "/comfyui/execution.py", line 496'],
            "current_inputs": {"text": ["a secret prompt"]},
        }
    )
    assert error.message == "No such file: 'my.safetensors' at <url>"
    wire = json.dumps(error.to_wire())
    assert not any(word in wire for word in ("workspace", "comfyui/", "secret", "10.0.0.7", "app"))


def test_a_refusal_repeats_neither_choices_nor_values() -> None:
    error = refused(recording("invalid_missing_model").answer)
    assert error.code == "model_missing"
    assert (
        error.message
        == "The worker lacks the model nope.safetensors: it is neither in its folders nor in its manifest."
    )
    assert error.details is not None
    assert error.details["models"] == ["nope.safetensors"]
    assert "input_config" not in json.dumps(error.to_wire())


def test_an_unknown_class_names_its_node() -> None:
    error = refused(recording("invalid_unknown_class").answer)
    assert error.node is not None
    assert error.node.id == "1"


def test_the_jobs_api_tells_what_the_history_lacks() -> None:
    assert read_job({"status": "pending"}) == Pending(running=False)
    assert read_job({"status": "in_progress"}) == Pending(running=True)
    assert isinstance(read_job({"status": "completed", "outputs": {"2": {}}}), Succeeded)
    assert isinstance(read_job({"status": "unheard-of"}), Missing)
    failed = read_job({"status": "failed", "execution_error": {"exception_message": "x", "node_id": "4"}})
    assert isinstance(failed, Failed)
    assert failed.error.message == "x"


def test_every_recorded_history_is_read() -> None:
    for recorded in all_recordings():
        if recorded.entry is not None:
            status = maybe_object(recorded.entry.get("status")).get("status_str")
            assert isinstance(read_history(recorded.entry), Succeeded) == (status == "success")
