"""The recordings with several clients: which messages each of them gets, in which order."""

import asyncio

import pytest

from local_comfyui.json_types import Json, JsonObject, as_object
from tests.conftest import Start
from tests.server import Listener, Server
from tests.transcripts import comparable, make_room, plain, recorded_messages, recording


class Stage:
    """A recording being replayed: the server, its clients a and b, and the recorded answers."""

    def __init__(self, recorded: JsonObject, server: Server, a: Listener, b: Listener) -> None:
        self.recorded, self.server, self.a, self.b = recorded, server, a, b
        self.client_a, self.client_b = str(recorded["client_a"]), str(recorded["client_b"])
        steps = recorded["steps"]
        assert isinstance(steps, list)
        self.steps = [as_object(step) for step in steps]

    async def settle(self) -> None:
        """Receive as many messages as were recorded for each client, and compare."""
        for listener, key in ((self.a, "websocket_a"), (self.b, "websocket_b")):
            expected = recorded_messages(self.recorded[key])
            while len(listener.messages) < len(expected):
                await listener.receive()
            assert [comparable(message) for message in listener.messages] == [
                comparable(message) for message in expected
            ]


async def stage(start: Start, name: str, number: int, *, after: JsonObject | None = None, held: bool = False) -> Stage:
    recorded = recording(name)
    server = await start("--probe-nodes", first_number=number - (after is not None), held=held)
    if after is not None:
        await server.run(after)
    make_room(server.engine.folders.output, [recorded["websocket_a"], recorded["websocket_b"], recorded["steps"]])
    a = await server.listen(str(recorded["client_a"]))
    b = await server.listen(str(recorded["client_b"]))
    return Stage(recorded, server, a, b)


def image(side: int = 64) -> JsonObject:
    return {"class_type": "EmptyImage", "inputs": {"width": side, "height": side, "batch_size": 1, "color": 0x3366CC}}


def save(source: str, prefix: str = "t") -> JsonObject:
    return {"class_type": "SaveImage", "inputs": {"images": [source, 0], "filename_prefix": prefix}}


def slow(steps: int, seconds: float, *, preview: bool = False) -> JsonObject:
    inputs: JsonObject = {"image": ["1", 0], "steps": steps, "seconds": seconds, "preview": preview}
    return {"class_type": "SlowSteps", "inputs": inputs}


def slow_prompt(steps: int, seconds: float, *, preview: bool = False) -> JsonObject:
    return {"1": image(), "5": slow(steps, seconds, preview=preview), "2": save("5")}


ONE_PICTURE: JsonObject = {"1": image(), "9": save("1", "before")}
"""What ran before a recording whose picture was in the cache."""


def queued_id(entry: Json) -> str:
    assert isinstance(entry, list)
    return str(entry[1])


@pytest.mark.asyncio
async def test_a_deleted_prompt_leaves_the_queue_and_no_history(start: Start) -> None:
    play = await stage(start, "queue_of_two_second_deleted", 28, held=True)
    first_queue = as_object(play.steps[0]["queue"])
    running, pending = first_queue["queue_running"], first_queue["queue_pending"]
    assert isinstance(running, list) and isinstance(pending, list)
    first, second = queued_id(running[0]), queued_id(pending[0])

    await play.server.post("/prompt", {"prompt": slow_prompt(10, 2.0), "client_id": play.client_a, "prompt_id": first})
    await play.a.until("executing", node="5")
    other: JsonObject = {"1": image(32), "2": save("1", "second")}
    await play.server.post("/prompt", {"prompt": other, "client_id": play.client_a, "prompt_id": second})
    play.server.pauses.allow()
    await play.a.until("progress", value=1)
    assert await play.server.get("/queue") == first_queue
    status, _ = await play.server.post("/queue", {"delete": [second]})
    assert status == play.steps[1]["delete_second_status"]
    assert await play.server.get("/queue") == play.steps[2]["queue_after_delete"]
    play.server.pauses.release()
    await play.settle()
    assert plain(await play.server.get(f"/history/{first}")) == plain(play.steps[3]["history_first"])
    assert await play.server.get(f"/history/{second}") == play.steps[3]["history_second"]


@pytest.mark.asyncio
async def test_front_and_number_decide_the_order(start: Start) -> None:
    play = await stage(start, "queue_order_front_and_number", 30, after=ONE_PICTURE, held=True)
    answers: list[JsonObject] = []
    ways: list[JsonObject] = [{}, {"front": True}, {"number": -5}]
    for step, more in zip(play.steps, ways, strict=False):
        body: JsonObject = {
            "prompt": slow_prompt(2, 0.6),
            "client_id": play.client_b,
            "prompt_id": step["prompt_id"],
            **more,
        }
        answers.append((await play.server.post("/prompt", body))[1])
        if not more:
            await play.b.until("executing", node="5")
    assert answers == play.steps[:3]
    assert await play.server.get("/queue") == play.steps[3]
    play.server.pauses.release()
    await play.settle()


@pytest.mark.asyncio
async def test_previews_carry_metadata_for_a_client_that_asked_first(start: Start) -> None:
    play = await stage(start, "previews_with_metadata", 32, after=ONE_PICTURE)
    await play.a.say({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    await play.a.until("feature_flags")
    body: JsonObject = {
        "prompt": slow_prompt(3, 1.0, preview=True),
        "client_id": play.client_a,
        "prompt_id": play.steps[0]["prompt_id"],
    }
    assert (await play.server.post("/prompt", body))[1] == play.steps[0]
    await play.settle()


@pytest.mark.asyncio
async def test_a_late_client_gets_status_and_the_current_node_and_no_repeats(start: Start) -> None:
    play = await stage(start, "client_connects_in_mid_run", 33, after=ONE_PICTURE, held=True)
    late_client = str(play.steps[1]["late_client"])
    expected = recorded_messages(play.steps[1]["websocket_late"])
    witness = await play.server.listen("witness")
    body: JsonObject = {
        "prompt": slow_prompt(10, 3.0),
        "client_id": late_client,
        "prompt_id": play.steps[0]["prompt_id"],
    }
    assert (await play.server.post("/prompt", body))[1] == play.steps[0]
    for _ in range(4):
        await play.server.pauses.reached()
        play.server.pauses.allow()
    await play.server.pauses.reached()

    late = await play.server.listen(late_client)
    await late.until("executing", node="5")
    play.server.pauses.release()
    while len(late.messages) < len(expected):
        await late.receive()

    assert [comparable(message) for message in late.messages] == [comparable(message) for message in expected]
    await play.settle()
    await witness.close()


@pytest.mark.asyncio
async def test_a_prompt_id_may_be_chosen_and_a_repeated_prompt_is_cached(start: Start) -> None:
    play = await stage(start, "own_prompt_id", 34, after=ONE_PICTURE)
    prompt: JsonObject = {"1": image(), "2": save("1")}
    chosen = play.steps[0]["prompt_id"]
    body: JsonObject = {"prompt": prompt, "client_id": play.client_a, "prompt_id": chosen}
    assert (await play.server.post("/prompt", body))[1] == play.steps[0]
    await play.a.until("executing", node=None, prompt_id=chosen)
    status, answer = await play.server.post("/prompt", {**body, "prompt_id": "not a uuid"})
    assert {"status": status, "body": answer} == play.steps[1]
    await play.settle()


@pytest.mark.asyncio
async def test_an_invalid_output_is_left_out_and_the_answer_is_still_200(start: Start) -> None:
    play = await stage(start, "one_output_invalid_answers_200", 36, after=ONE_PICTURE)
    prompt_id = str(as_object(play.steps[0]["body"])["prompt_id"])
    prompt: JsonObject = {
        "1": image(),
        "2": save("1", "good"),
        "3": save("9", "bad"),
        "9": {"class_type": "LoadImage", "inputs": {"image": "missing.png"}},
    }
    status, answer = await play.server.post(
        "/prompt", {"prompt": prompt, "client_id": play.client_a, "prompt_id": prompt_id}
    )
    assert {"status": status, "body": answer} == play.steps[0]
    await play.settle()
    assert plain(await play.server.get(f"/history/{prompt_id}")) == plain(play.steps[1]["history"])


@pytest.mark.asyncio
async def test_no_message_follows_the_end_of_a_prompt(start: Start) -> None:
    """The replays stop listening after the last recorded message: here nothing more may come before the next prompt."""
    server = await start("--probe-nodes")
    listener = await server.listen("one")
    _, answer = await server.post("/prompt", {"prompt": {"1": image(), "2": save("1")}, "client_id": "one"})
    await listener.until_over(str(answer["prompt_id"]))
    count = len(listener.messages)
    await server.post("/queue", {"clear": True})
    message = await asyncio.wait_for(listener.receive(), 10)
    assert not isinstance(message, bytes) and message["type"] == "status"
    assert len(listener.messages) == count + 1
