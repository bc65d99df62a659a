"""What is refused before it is queued, in ComfyUI's words. (The recorded refusals are in test_replay_prompts.)"""

import pytest

from local_comfyui.json_types import Json, JsonObject, as_object
from tests.server import Server

PICTURE: JsonObject = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}}
SCALE: JsonObject = {"image": ["1", 0], "upscale_method": "area", "width": 4, "height": 4, "crop": "disabled"}


def save(source: Json) -> JsonObject:
    return {"class_type": "SaveImage", "inputs": {"images": source, "filename_prefix": "t"}}


def picture(**inputs: Json) -> JsonObject:
    return {"class_type": "EmptyImage", "inputs": {**as_object(PICTURE["inputs"]), **inputs}}


def scale(**inputs: Json) -> JsonObject:
    return {"class_type": "ImageScale", "inputs": {**SCALE, **inputs}}


async def refusal(server: Server, prompt: Json) -> tuple[JsonObject, JsonObject]:
    status, body = await server.post("/prompt", {"prompt": prompt})
    assert status == 400, body
    return as_object(body["error"]), as_object(body["node_errors"])


async def only_error(server: Server, prompt: JsonObject, node: str) -> JsonObject:
    error, node_errors = await refusal(server, prompt)
    assert error["type"] == "prompt_outputs_failed_validation"
    assert list(node_errors) == [node]
    found = as_object(node_errors[node])
    assert found["dependent_outputs"] == ["out"] and found["class_type"] == as_object(prompt[node])["class_type"]
    errors = found["errors"]
    assert isinstance(errors, list) and len(errors) == 1
    return as_object(errors[0])


INT = ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("node", "kind", "message", "details"),
    [
        (picture(width=0), "value_smaller_than_min", "Value 0 smaller than min of 1", "width"),
        (picture(width=16385), "value_bigger_than_max", "Value 16385 bigger than max of 16384", "width"),
        (
            picture(width="wide"),
            "invalid_input_type",
            "Failed to convert an input value to a INT value",
            "width, wide, invalid literal for int() with base 10: 'wide'",
        ),
        (
            picture(width=[1, 2, 3]),
            "bad_linked_input",
            "Bad linked input, must be a length-2 list of [node_id, slot_index]",
            "width",
        ),
    ],
)
async def test_a_bad_value_is_named_with_its_rule(
    server: Server, node: JsonObject, kind: str, message: str, details: str
) -> None:
    error = await only_error(server, {"1": node, "out": save(["1", 0])}, "1")
    assert (error["type"], error["message"], error["details"]) == (kind, message, details)
    extra = as_object(error["extra_info"])
    assert extra["input_config"] == INT
    assert extra["received_value"] == as_object(node["inputs"])["width"]


@pytest.mark.asyncio
@pytest.mark.parametrize("value", [None, {}, "1e999999"])
async def test_non_number_never_breaks_the_server(server: Server, value: Json) -> None:
    error = await only_error(server, {"1": picture(width=value), "out": save(["1", 0])}, "1")
    assert error["type"] == "invalid_input_type"


@pytest.mark.asyncio
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
async def test_nan_and_infinity_are_not_numbers(server: Server, value: Json) -> None:
    mask: JsonObject = {"class_type": "SolidMask", "inputs": {"value": value, "width": 1, "height": 1}}
    picture: JsonObject = {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}}
    error = await only_error(server, {"1": mask, "2": picture, "out": save(["2", 0])}, "1")
    assert error["type"] == "invalid_input_type"


@pytest.mark.asyncio
async def test_queue_number_that_is_not_a_number_is_ignored(server: Server) -> None:
    for body, status in ((b'{"number": NaN, "prompt": {}}', 500), (b'{"number": 1e999, "prompt": {}}', 400)):
        async with server.session.post(server.url + "/prompt", data=body) as answer:
            assert answer.status == status
    entry = await server.run({"1": PICTURE, "out": save(["1", 0])}, number=None)
    prompt = entry["prompt"]
    assert isinstance(prompt, list) and prompt[0] == 0


@pytest.mark.asyncio
async def test_numbers_in_text_and_wrapped_values_are_converted_and_shown_converted(server: Server) -> None:
    entry = await server.run({"1": picture(width="16", height=8.9, color={"__value__": 7}), "out": save(["1", 0])})
    prompt = entry["prompt"]
    assert isinstance(prompt, list)
    shown = as_object(as_object(as_object(prompt[2])["1"])["inputs"])
    assert (shown["width"], shown["height"], shown["color"]) == (16, 8, 7)


@pytest.mark.asyncio
async def test_unknown_choice_is_rejected_with_the_choices(server: Server) -> None:
    prompt: JsonObject = {"1": PICTURE, "2": scale(crop="left"), "out": save(["2", 0])}
    error = await only_error(server, prompt, "2")
    assert error["type"] == "value_not_in_list"
    assert error["details"] == "crop: 'left' not in ['disabled', 'center']"
    assert as_object(error["extra_info"])["input_config"] == [["disabled", "center"], {}]
    newer: JsonObject = {"class_type": "ImageQuantize", "inputs": {"image": ["1", 0], "colors": 4, "dither": "x"}}
    error = await only_error(server, {"1": PICTURE, "2": newer, "out": save(["2", 0])}, "2")
    assert error["type"] == "value_not_in_list"


@pytest.mark.asyncio
async def test_a_link_of_another_type_is_named(server: Server) -> None:
    prompt: JsonObject = {"1": {"class_type": "PrimitiveInt", "inputs": {"value": 1}}, "out": save(["1", 0])}
    error = await only_error(server, prompt, "out")
    assert error["type"] == "return_type_mismatch"
    assert error["details"] == "images, received_type(INT) mismatch input_type(IMAGE)"
    extra = as_object(error["extra_info"])
    assert (extra["received_type"], extra["linked_node"]) == ("INT", ["1", 0])


@pytest.mark.asyncio
@pytest.mark.parametrize("link", [["nowhere", 0], ["1", 5], ["1", "0"], [1, 0]])
async def test_link_to_a_missing_node_is_an_exception_during_validation(server: Server, link: Json) -> None:
    error = await only_error(server, {"1": PICTURE, "out": save(link)}, "out")
    assert error["type"] == "exception_during_validation"
    deeper: JsonObject = {"1": PICTURE, "2": scale(image=link), "out": save(["2", 0])}
    error = await only_error(server, deeper, "2")
    assert error["type"] == "exception_during_inner_validation"
    assert as_object(error["extra_info"])["linked_node"] == ["2", 0]


@pytest.mark.asyncio
async def test_a_cycle_is_reported_on_every_node_of_it(server: Server) -> None:
    turn: JsonObject = {"class_type": "ImageInvert", "inputs": {"image": ["3", 0]}}
    back: JsonObject = {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}}
    _, node_errors = await refusal(server, {"2": turn, "3": back, "out": save(["2", 0])})
    assert set(node_errors) == {"2", "3"}
    for node in ("2", "3"):
        errors = as_object(node_errors[node])["errors"]
        assert isinstance(errors, list)
        assert as_object(errors[0])["type"] == "dependency_cycle"


@pytest.mark.asyncio
async def test_every_invalid_node_is_reported_with_its_outputs(server: Server) -> None:
    _, node_errors = await refusal(
        server, {"1": picture(width=0), "2": scale(crop="x"), "a": save(["1", 0]), "b": save(["2", 0])}
    )
    assert as_object(node_errors["1"])["dependent_outputs"] == ["a", "b"]
    assert as_object(node_errors["2"])["dependent_outputs"] == ["b"]


@pytest.mark.asyncio
async def test_node_without_inputs_lacks_required_inputs(server: Server) -> None:
    _, node_errors = await refusal(server, {"1": {"class_type": "EmptyImage"}, "out": save(["1", 0])})
    errors = as_object(node_errors["1"])["errors"]
    assert isinstance(errors, list)
    assert [as_object(error)["details"] for error in errors] == ["width", "height", "batch_size", "color"]


@pytest.mark.asyncio
@pytest.mark.parametrize("prompt", [{"1": 5}, {"1": None}, {"1": {"class_type": 3}}, {"nodes": [], "links": []}])
async def test_node_that_is_not_an_object_has_no_class_type(server: Server, prompt: Json) -> None:
    error, _ = await refusal(server, prompt)
    assert error["message"] == "Cannot execute because a node is missing the class_type property."


@pytest.mark.asyncio
@pytest.mark.parametrize("prompt", [None, [], "text", 5])
async def test_prompt_that_is_not_an_object_is_rejected(server: Server, prompt: Json) -> None:
    error, _ = await refusal(server, prompt)
    assert error["type"] == "no_prompt"


@pytest.mark.asyncio
async def test_a_body_in_plain_text_is_read_as_json(server: Server) -> None:
    """Clients exist that send every POST as text/plain."""
    async with server.session.post(server.url + "/prompt", data=b'{"prompt": {}}') as answer:
        assert (await answer.json())["error"]["type"] == "prompt_no_outputs"


@pytest.mark.asyncio
async def test_rejected_prompt_is_not_queued(server: Server) -> None:
    await refusal(server, {"1": PICTURE})
    assert await server.get("/queue") == {"queue_running": [], "queue_pending": []}
    assert await server.get("/history") == {}
