"""What a client can rely on while prompts run: caching and its trap, interrupting, isolation of clients, order."""

import struct

import numpy as np
import pytest

from local_comfyui.json_types import Json, JsonObject, as_object
from tests.conftest import Start
from tests.server import Server

PICTURE: JsonObject = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}}


def save(source: str = "1", prefix: str = "t") -> JsonObject:
    return {"class_type": "SaveImage", "inputs": {"images": [source, 0], "filename_prefix": prefix}}


def slow(source: str = "1", steps: int = 3) -> JsonObject:
    return {
        "class_type": "SlowSteps",
        "inputs": {"image": [source, 0], "steps": steps, "seconds": 9.0, "preview": False},
    }


SAVED: JsonObject = {"1": PICTURE, "2": save()}


def files_of(entry: JsonObject, node: str = "2") -> list[str]:
    images = as_object(as_object(entry["outputs"])[node])["images"]
    assert isinstance(images, list)
    return [str(as_object(image)["filename"]) for image in images]


def cached(entry: JsonObject) -> Json:
    messages = as_object(entry["status"])["messages"]
    assert isinstance(messages, list)
    return next(
        as_object(message[1])["nodes"]
        for message in messages
        if isinstance(message, list) and message[0] == "execution_cached"
    )


def kinds_of(entry: JsonObject) -> list[str]:
    messages = as_object(entry["status"])["messages"]
    assert isinstance(messages, list)
    return [str(message[0]) for message in messages if isinstance(message, list)]


@pytest.mark.asyncio
async def test_repeated_prompt_lists_a_cached_file_that_may_be_deleted(server: Server) -> None:
    first = await server.run(SAVED)
    (server.engine.folders.output / "t_00001_.png").unlink()

    second = await server.run(SAVED)

    assert files_of(second) == files_of(first) == ["t_00001_.png"]
    assert cached(second) == ["1", "2"]
    assert not (server.engine.folders.output / "t_00001_.png").exists()


@pytest.mark.asyncio
async def test_another_prefix_saves_again_from_the_cached_image(server: Server) -> None:
    await server.run(SAVED)
    again = await server.run({"1": PICTURE, "2": save(prefix="job/t")})
    assert cached(again) == ["1"]
    assert (server.engine.folders.output / "job" / "t_00001_.png").is_file()


@pytest.mark.asyncio
async def test_only_results_of_the_last_prompt_are_kept(server: Server) -> None:
    await server.run(SAVED)
    await server.run({"1": {**PICTURE, "inputs": {**as_object(PICTURE["inputs"]), "color": 1}}, "2": save()})
    assert cached(await server.run(SAVED)) == []


@pytest.mark.asyncio
async def test_cache_lru_keeps_more_than_the_last_prompt(start: Start) -> None:
    server = await start("--cache-lru", "10")
    await server.run(SAVED)
    await server.run({"1": {**PICTURE, "inputs": {**as_object(PICTURE["inputs"]), "color": 1}}, "2": save()})
    assert cached(await server.run(SAVED)) == ["1", "2"]


@pytest.mark.asyncio
async def test_cache_none_runs_everything_every_time(start: Start) -> None:
    server = await start("--cache-none")
    await server.run(SAVED)
    second = await server.run(SAVED)
    assert cached(second) == []
    assert files_of(second) == ["t_00002_.png"]


@pytest.mark.asyncio
async def test_free_memory_deletes_cached_results(server: Server) -> None:
    await server.run(SAVED)
    assert await server.post("/free", {"unload_models": True, "free_memory": False}) == (200, {})
    assert cached(await server.run(SAVED)) == ["1", "2"]
    assert await server.post("/free", {"unload_models": True, "free_memory": True}) == (200, {})
    assert cached(await server.run(SAVED)) == []


@pytest.mark.asyncio
async def test_a_file_with_new_content_under_the_same_name_is_loaded_again(server: Server) -> None:
    graph: JsonObject = {"1": {"class_type": "LoadImage", "inputs": {"image": "in.png"}}}
    server.put_input("in.png", np.full((4, 4, 3), 10, np.uint8))
    assert (await server.pictures(graph, "1")).max() == 10
    server.put_input("in.png", np.full((4, 4, 3), 99, np.uint8))
    assert (await server.pictures(graph, "1")).min() == 99


@pytest.mark.asyncio
async def test_the_same_node_twice_runs_once(server: Server) -> None:
    entry = await server.run({"1": PICTURE, "2": save(), "3": PICTURE, "4": save("3")})
    assert files_of(entry, "2") == files_of(entry, "4") == ["t_00001_.png"]


@pytest.mark.asyncio
async def test_a_list_runs_a_node_once_for_each_member(server: Server) -> None:
    graph: JsonObject = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 4, "height": 4, "batch_size": 5, "color": 9}},
        "2": {"class_type": "RebatchImages", "inputs": {"images": ["1", 0], "batch_size": 2}},
        "3": {"class_type": "GetImageSize", "inputs": {"image": ["2", 0]}},
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 2]}},
        "5": save("2"),
    }
    entry = await server.run(graph)
    assert as_object(as_object(entry["outputs"])["4"])["text"] == ["2", "2", "1"]
    assert files_of(entry, "5") == [f"t_{number:05}_.png" for number in range(1, 6)]


@pytest.mark.asyncio
async def test_text_for_a_node_is_a_binary_message_of_kind_3(server: Server) -> None:
    listener = await server.listen("c")
    graph: JsonObject = {
        "1": PICTURE,
        "size": {"class_type": "GetImageSize", "inputs": {"image": ["1", 0]}},
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["size", 0]}},
    }
    _, answer = await server.post("/prompt", {"prompt": graph, "client_id": "c"})
    await listener.until_over(str(answer["prompt_id"]))
    (message,) = [message for message in listener.messages if isinstance(message, bytes)]
    assert message == struct.pack(">II", 3, 4) + b"size" + b"width: 8, height: 8\n batch size: 1"


@pytest.mark.asyncio
async def test_outputs_saved_before_an_error_stay_in_the_history(server: Server) -> None:
    entry = await server.run(
        {"1": PICTURE, "2": save(), "8": {"class_type": "Explode", "inputs": {"image": ["1", 0]}}, "9": save("8")}
    )
    assert as_object(entry["status"]) | {"messages": []} == {"status_str": "error", "completed": False, "messages": []}
    assert files_of(entry) == ["t_00001_.png"]
    assert kinds_of(entry)[-1] == "execution_error"


@pytest.mark.asyncio
async def test_error_keeps_earlier_results_in_the_cache(server: Server) -> None:
    graph: JsonObject = {"1": PICTURE, "8": {"class_type": "Explode", "inputs": {"image": ["1", 0]}}, "9": save("8")}
    await server.run(graph)
    again = await server.run(graph)
    assert cached(again) == ["1"]
    assert kinds_of(again)[-1] == "execution_error"


@pytest.mark.asyncio
async def test_interrupt_while_idle_does_not_stop_the_next_prompt(server: Server) -> None:
    await server.post("/interrupt")
    await server.post("/interrupt", {"prompt_id": "none"})
    entry = await server.run({"1": PICTURE, "5": slow(), "2": save("5")})
    assert as_object(entry["status"])["status_str"] == "success"


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [None, {}, {"prompt_id": "mine"}], ids=["no body", "empty", "by id"])
async def test_an_interrupt_stops_the_running_prompt_and_the_next_one_runs(start: Start, body: Json) -> None:
    server = await start("--probe-nodes", held=True)
    listener = await server.listen("c")
    running: JsonObject = {"prompt": {"1": PICTURE, "5": slow(), "2": save("5")}, "client_id": "c", "prompt_id": "mine"}
    await server.post("/prompt", running)
    await server.post("/prompt", {"prompt": SAVED, "client_id": "c", "prompt_id": "next"})
    await server.pauses.reached()
    if body is None:
        async with server.session.post(f"{server.url}/interrupt") as answer:
            assert answer.status == 200
    else:
        assert (await server.post("/interrupt", body))[0] == 200
    server.pauses.allow()
    stopped = await listener.until("execution_interrupted")
    assert (stopped["prompt_id"], stopped["node_id"], stopped["node_type"]) == ("mine", "5", "SlowSteps")
    await listener.until_over("next")
    assert as_object(as_object((await server.get("/history/next"))["next"])["status"])["status_str"] == "success"


@pytest.mark.asyncio
async def test_an_interrupt_of_another_prompt_changes_nothing(start: Start) -> None:
    server = await start("--probe-nodes", held=True)
    listener = await server.listen("c")
    body: JsonObject = {"prompt": {"1": PICTURE, "5": slow(), "2": save("5")}, "client_id": "c", "prompt_id": "mine"}
    await server.post("/prompt", body)
    await server.pauses.reached()
    assert await server.post("/interrupt", {"prompt_id": "other"}) == (200, {})
    server.pauses.release()
    await listener.until("execution_success", prompt_id="mine")


@pytest.mark.asyncio
async def test_a_prompt_without_a_client_runs_and_is_in_the_history(server: Server) -> None:
    witness = await server.listen("witness")
    _, answer = await server.post("/prompt", {"prompt": SAVED})
    await witness.until("status", status={"exec_info": {"queue_remaining": 0}})
    prompt_id = str(answer["prompt_id"])
    assert files_of(as_object((await server.get(f"/history/{prompt_id}"))[prompt_id])) == ["t_00001_.png"]
    assert set(witness.events()) == {"status", "progress_state"}  # what has no client goes to everyone


@pytest.mark.asyncio
async def test_second_socket_of_a_client_replaces_the_first(start: Start) -> None:
    server = await start("--probe-nodes", held=True)
    await server.listen("c")
    await server.post(
        "/prompt", {"prompt": {"1": PICTURE, "5": slow(), "2": save("5")}, "client_id": "c", "prompt_id": "p"}
    )
    await server.pauses.reached()
    second = await server.listen("c")
    assert await second.until("executing") == {"node": "5"}
    server.pauses.release()
    await second.until_over("p")


@pytest.mark.asyncio
async def test_feature_flags_count_only_as_the_first_message(server: Server) -> None:
    listener = await server.listen("c")
    await listener.say({"type": "something"})
    await listener.say({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    preview: JsonObject = {
        "class_type": "SlowSteps",
        "inputs": {"image": ["1", 0], "steps": 1, "seconds": 0, "preview": True},
    }
    await server.post(
        "/prompt", {"prompt": {"1": PICTURE, "5": preview, "2": save("5")}, "client_id": "c", "prompt_id": "p"}
    )
    await listener.until_over("p")
    (picture,) = [message for message in listener.messages if isinstance(message, bytes)]
    assert picture[:8] == struct.pack(">II", 1, 1)
    assert "feature_flags" not in listener.events()


@pytest.mark.asyncio
async def test_partial_execution_runs_only_the_named_outputs(server: Server) -> None:
    entry = await server.run({"1": PICTURE, "2": save(), "3": save(prefix="other")}, partial_execution_targets=["3"])
    assert list(as_object(entry["outputs"])) == ["3"]


@pytest.mark.asyncio
async def test_graph_deeper_than_the_recursion_limit_of_python_runs(server: Server) -> None:
    graph: JsonObject = {"0": PICTURE}
    for index in range(1, 600):
        graph[str(index)] = {
            "class_type": "ImageFlip",
            "inputs": {"image": [str(index - 1), 0], "flip_method": "x-axis: vertically"},
        }
    graph["save"] = save("599")
    entry = await server.run(graph)
    assert as_object(entry["status"])["status_str"] == "success"


@pytest.mark.asyncio
async def test_history_is_limited_paged_and_deleted(server: Server) -> None:
    for prompt_id in ("a", "b", "c"):
        await server.run(SAVED, prompt_id=prompt_id)
    assert list(await server.get("/history")) == ["a", "b", "c"]
    assert list(await server.get("/history?max_items=2")) == ["b", "c"]
    assert list(await server.get("/history?max_items=1&offset=1")) == ["b"]
    assert list(await server.get("/history?max_items=9")) == ["a", "b", "c"]
    await server.post("/history", {"delete": ["b"]})
    assert list(await server.get("/history")) == ["a", "c"]
    await server.post("/history", {"clear": True})
    assert await server.get("/history") == {}


@pytest.mark.asyncio
async def test_keys_of_comfy_org_are_never_shown(server: Server) -> None:
    secret: JsonObject = {
        "api_key_comfy_org": "k",
        "auth_token_comfy_org": "t",
        "extra_pnginfo": {"workflow": {"id": "w"}},
    }
    entry = await server.run(SAVED, extra_data=secret)
    prompt = entry["prompt"]
    assert isinstance(prompt, list)
    assert set(as_object(prompt[3])) == {"extra_pnginfo", "client_id"}
