"""What the worker does for each node costs the same in a large graph as in a small one."""

import asyncio
import dataclasses
import io
import json
import time
from collections.abc import Callable

import pytest

from fakes.harness import QUICK
from worker_gpu.comfy.client import ComfyClient
from worker_gpu.comfy.history_status import Succeeded
from worker_gpu.comfy.messages import Executing, ProgressState, parse_message
from worker_gpu.comfy.progress import ProgressBook
from worker_gpu.comfy.prompt_follower import PromptFollower
from worker_gpu.comfy.prompt_state import Progressed
from worker_gpu.comfy.socket import ComfySocket
from worker_gpu.comfy.socket import SocketEvent as SocketEvent
from worker_gpu.direct.progress import StatusReporter
from worker_gpu.json_readers import JsonObject
from worker_gpu.log import Log

PROMPT = "11111111-2222-3333-4444-555555555555"
CHAIN = 300
SMALL = 500
TRIES = 5
GAP_S = 0.1


def state_messages(nodes: int) -> list[ProgressState]:
    """What ComfyUI says of a chain of `nodes`: each message holds all nodes that have begun."""
    begun: JsonObject = {}
    messages: list[ProgressState] = []
    for number in range(nodes):
        for state, value in (("running", 0.0), ("finished", 1.0)):
            begun[str(number)] = {"value": value, "max": 1.0, "state": state, "display_node_id": str(number)}
            frame = {"type": "progress_state", "data": {"prompt_id": PROMPT, "nodes": begun}}
            message = parse_message(json.dumps(frame))
            assert isinstance(message, ProgressState)
            messages.append(message)
    return messages


class Ended(ComfyClient):
    """A ComfyUI whose prompt has succeeded."""

    def __init__(self) -> None:
        pass

    async def history_status(self, prompt_id: str) -> Succeeded:
        """See `ComfyClient`."""
        return Succeeded({}, {})


class Silent(ComfySocket):
    """A socket that is not used."""

    def __init__(self) -> None:
        pass


class Clock:
    """Time that passes by being asked for: a millisecond each time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 0.001
        return self.seconds


@pytest.mark.asyncio
async def test_following_a_chain_decodes_node_states_by_time_not_by_node() -> None:
    clock, states, inbox = Clock(), dict[str, str](), asyncio.Queue[SocketEvent]()
    messages = state_messages(CHAIN)
    classes = {str(number): "ImageInvert" for number in range(CHAIN)}
    timeouts = dataclasses.replace(QUICK, states_gap_s=GAP_S)
    follower = PromptFollower(
        *(Ended(), Silent(), timeouts, clock, Log(io.StringIO()), PROMPT, classes, 0),
        at_once=True,
        reports_files=False,
        wait_exit=never,
    )

    async def play() -> None:
        for message in messages:
            inbox.put_nowait(message)
            await asyncio.sleep(0)
        inbox.put_nowait(Executing(PROMPT, None, None))

    async def read() -> None:
        async for event in follower.events(inbox):
            if isinstance(event, Progressed):
                states.update({node: state.phase for node, state in event.progress.nodes.items()})

    await asyncio.gather(read(), play())

    decoded = sum("nodes" in vars(message) for message in messages)
    assert decoded <= clock.seconds / GAP_S + 2
    assert states == dict.fromkeys(classes, "finished")


async def never() -> None:
    """ComfyUI lives."""
    await asyncio.Event().wait()


def progress_of(nodes: int) -> None:
    """Each node of a graph runs and finishes, and progress is taken each time."""
    book = ProgressBook({str(number): "X" for number in range(nodes)})
    for number in range(nodes):
        for phase in ("running", "finished"):
            book.mark(str(number), phase)
            book.take()


def status_of(nodes: int) -> None:
    """Progress of each node goes into a status that is never posted."""

    async def tell() -> None:
        async def post(_told: JsonObject) -> None:
            await asyncio.Event().wait()

        status = StatusReporter(post, Log(io.StringIO()), first_s=0)
        for number in range(nodes):
            status.update({"type": "progress", "nodes": {str(number): {"state": "finished"}}})
        await status.close()

    asyncio.run(tell())


@pytest.mark.parametrize("work", [progress_of, status_of])
def test_progress_costs_as_much_per_node_in_a_larger_graph(work: Callable[[int], None]) -> None:
    def cost(nodes: int) -> float:
        began = time.thread_time()
        work(nodes)
        return time.thread_time() - began

    # Eight times the nodes cost 8 times as much; a cost that grows with the square would be 64 times as much. The least
    # of several says what the work takes, however busy the machine is.
    large = min(cost(SMALL * 8) for _ in range(TRIES))
    assert large < 24 * min(cost(SMALL) for _ in range(TRIES))
