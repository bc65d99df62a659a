"""The outbox: numbers without gaps, progress that waits for its time, previews that may be lost."""

import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from worker_gpu.comfy.progress import NodeState, Progress
from worker_gpu.json_readers import JsonObject
from worker_gpu.timeouts import Timeouts
from worker_gpu.wire.outbox import Outbox

PATIENCE = Timeouts()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drain(outbox: Outbox) -> list[JsonObject]:
    frames: list[JsonObject] = []
    while (frame := outbox.next_frame()) is not None:
        frames.append(json.loads(frame))
    return frames


def progress(value: float, **nodes: float) -> Progress:
    return Progress(value, 0, 3, nodes={node: NodeState("running", at, 1.0) for node, at in nodes.items()})


def test_progress_waits_for_its_time_and_the_latest_wins() -> None:
    clock = Clock()
    outbox = Outbox(PATIENCE, clock)
    outbox.put_progress(progress(0.1, a=0.1))
    assert [m["value"] for m in drain(outbox)] == [0.1]
    outbox.put_progress(progress(0.2, a=0.2))
    outbox.put_progress(progress(0.3, b=0.3))
    assert drain(outbox) == []
    clock.now = outbox.next_due()
    (sent,) = drain(outbox)
    assert sent["value"] == 0.3
    assert set(sent["nodes"] if isinstance(sent["nodes"], dict) else {}) == {"a", "b"}


def test_no_second_holds_more_than_four_progress_messages() -> None:
    """Three at their pace, and the last one of a part of the run out of turn."""
    clock = Clock()
    outbox = Outbox(PATIENCE, clock)
    sent_at: list[float] = []
    for step in range(400):
        clock.now = 100.0 + step / 100
        outbox.put_progress(progress(step / 400))
        if step == 250:
            outbox.flush_progress()
        sent_at += [clock.now for _ in drain(outbox)]
    assert max(sum(1 for t in sent_at if start <= t < start + 1.0) for start in sent_at) <= 4
    assert len(sent_at) >= 11


def test_the_last_progress_goes_before_what_follows_it() -> None:
    outbox = Outbox(PATIENCE, Clock())
    outbox.put_progress(progress(0.5))
    drain(outbox)
    outbox.put_progress(progress(1.0))
    outbox.flush_progress()
    outbox.put({"type": "stage", "stage": "uploading"})
    assert [m["type"] for m in drain(outbox)] == ["progress", "stage"]


def test_previews_are_rare_and_the_latest_wins() -> None:
    clock = Clock()
    outbox = Outbox(PATIENCE, clock)
    outbox.put_preview({"n": 1})
    assert drain(outbox) == [{"n": 1}]
    outbox.put_preview({"n": 2})
    outbox.put_preview({"n": 3})
    assert drain(outbox) == []
    clock.now += PATIENCE.preview_gap_s
    assert drain(outbox) == [{"n": 3}]
    assert outbox.last_seq == 0


def test_progress_stops_while_nothing_is_acknowledged() -> None:
    clock = Clock()
    outbox = Outbox(dataclasses.replace(PATIENCE, progress_gap_s=0.0), clock)
    for step in range(1000):
        outbox.put_progress(progress(step / 1000))
        drain(outbox)
    held = len(outbox.unacknowledged())
    assert held < 300
    outbox.acknowledge(held)
    assert len(drain(outbox)) == 1


@given(st.lists(st.one_of(st.just("put"), st.just("send"), st.integers(0, 12)), max_size=60))
def test_what_is_sent_and_not_acknowledged_is_kept_in_order(steps: list[str | int]) -> None:
    outbox = Outbox(PATIENCE, Clock())
    put, acked = 0, 0
    for step in steps:
        if step == "put":
            put += 1
            outbox.put({"type": "log", "n": put})
        elif step == "send":
            outbox.next_frame()
        elif isinstance(step, int):
            acked = max(acked, min(step, outbox.last_seq))
            outbox.acknowledge(step)
        kept = [json.loads(frame) for frame in outbox.unacknowledged()]
        assert [m["seq"] for m in kept] == list(range(acked + 1, outbox.last_seq + 1))
        assert all(m["n"] == m["seq"] for m in kept)
    assert outbox.is_settled == (acked == put)


def test_progress_at_the_end_is_followed_by_a_sync_and_nothing_else_is() -> None:
    clock = Clock()
    outbox = Outbox(PATIENCE, clock)
    outbox.sync()
    assert drain(outbox) == []
    outbox.put_progress(progress(0.5))
    outbox.sync()
    assert [m["type"] for m in drain(outbox)] == ["progress", "sync"]
    outbox.put({"type": "log"})
    outbox.sync()
    assert [m["type"] for m in drain(outbox)] == ["log"]
    clock.now += PATIENCE.progress_gap_s
    outbox.put_progress(progress(0.6))
    assert [m["type"] for m in drain(outbox)] == ["progress"]
    outbox.acknowledge(outbox.last_seq)
    outbox.sync()
    assert drain(outbox) == []
