"""Files in and out: /view, /upload/*, names of saved files; and that nothing leaves the three folders."""

import io
import json
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from PIL import Image

from local_comfyui.folders import OutsideFolder, next_save_target
from local_comfyui.json_types import JsonObject, as_object
from tests.conftest import Start
from tests.nodes import NOON
from tests.server import Server

SECRET = b"secret"


def png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


RED = png(np.full((4, 6, 3), (200, 10, 20), np.uint8))
GLASS = png(np.full((4, 6, 4), (200, 10, 20, 77), np.uint8))


async def view(
    server: Server, query: dict[str, str], headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    async with server.session.get(server.url + "/view", params=query, headers=headers) as answer:
        return answer.status, await answer.read(), dict(answer.headers)


async def upload(
    server: Server, content: bytes, *, name: str = "a.png", route: str = "image", **fields: str
) -> tuple[int, JsonObject]:
    form = aiohttp.FormData()
    form.add_field("image", content, filename=name, content_type="image/png")
    for field, value in fields.items():
        form.add_field(field, value)
    async with server.session.post(f"{server.url}/upload/{route}", data=form) as answer:
        raw = await answer.read()
        return answer.status, as_object(json.loads(raw)) if raw and answer.status == 200 else {}


@pytest.mark.asyncio
async def test_a_file_has_an_etag_and_answers_ranges(server: Server) -> None:
    (server.engine.folders.output / "sub").mkdir()
    (server.engine.folders.output / "sub" / "a.png").write_bytes(RED)
    query = {"filename": "a.png", "subfolder": "sub"}
    async with server.session.get(server.url + "/view", params=query) as answer:
        assert (answer.status, await answer.read()) == (200, RED)
        assert answer.headers["Content-Disposition"] == 'filename="a.png"'
        etag = answer.headers["ETag"]
    assert (await view(server, query, {"If-None-Match": etag}))[:2] == (304, b"")
    assert (await view(server, query, {"Range": "bytes=2-5"}))[:2] == (206, RED[2:6])
    assert (await view(server, query, {"Range": "bytes=999999-"}))[0] == 416


@pytest.mark.asyncio
async def test_head_tells_the_size(server: Server) -> None:
    (server.engine.folders.output / "a.png").write_bytes(RED)
    for path in ("/view?filename=a.png", "/api/view?filename=a.png"):
        async with server.session.head(server.url + path) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(RED)))


@pytest.mark.asyncio
async def test_name_too_long_for_a_file_is_not_found(server: Server) -> None:
    name = "x" * 2000 + ".png"
    assert (await view(server, {"filename": name}))[0] == 404
    assert (await upload(server, RED, name=name))[0] == 400
    load: JsonObject = {"class_type": "LoadImage", "inputs": {"image": name}}
    save: JsonObject = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}}
    assert (await server.post("/prompt", {"prompt": {"1": load, "2": save}}))[0] == 400


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=b", "text/plain", "image/png"])
async def test_upload_that_is_not_a_form_is_a_400(server: Server, kind: str) -> None:
    async with server.session.post(f"{server.url}/upload/image", data=RED, headers={"Content-Type": kind}) as answer:
        assert answer.status == 400


@pytest.mark.asyncio
async def test_type_or_a_suffix_of_the_name_chooses_the_folder(server: Server) -> None:
    (server.engine.folders.input / "in.png").write_bytes(RED)
    (server.engine.folders.temp / "temp.png").write_bytes(GLASS)
    assert (await view(server, {"filename": "in.png", "type": "input"}))[:2] == (200, RED)
    assert (await view(server, {"filename": "temp.png", "type": "temp"}))[:2] == (200, GLASS)
    assert (await view(server, {"filename": "in.png [input]"}))[:2] == (200, RED)
    assert (await view(server, {"filename": "in.png"}))[0] == 404
    assert (await view(server, {"filename": "in.png", "type": "models"}))[0] == 400


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "query",
    [
        {"filename": "../secret.txt"},
        {"filename": "/etc/passwd"},
        {"filename": "secret.txt", "subfolder": ".."},
        {"filename": "secret.txt", "subfolder": "../output/.."},
        {"filename": "secret.txt", "subfolder": "/"},
        {"filename": "link.txt"},
        {"filename": "a\0b"},
    ],
)
async def test_view_serves_only_files_of_its_folder(server: Server, query: dict[str, str]) -> None:
    base = server.engine.options.base
    (base / "secret.txt").write_bytes(SECRET)
    (server.engine.folders.output / "link.txt").symlink_to(base / "secret.txt")
    status, body, _ = await view(server, query)
    assert status in (400, 403, 404)
    assert SECRET not in body


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wish", "channel", "kind", "mode"),
    [
        ("webp;50", "rgba", "WEBP", "RGBA"),
        ("jpeg", "rgb", "JPEG", "RGB"),
        ("jpeg;80", "rgba", "WEBP", "RGBA"),
        ("gif", "rgb", "WEBP", "RGB"),
    ],
)
async def test_a_preview_is_re_encoded(server: Server, wish: str, channel: str, kind: str, mode: str) -> None:
    (server.engine.folders.output / "a.png").write_bytes(GLASS)
    status, body, headers = await view(server, {"filename": "a.png", "preview": wish, "channel": channel})
    assert status == 200
    assert headers["Content-Type"] == f"image/{kind.lower()}"
    with Image.open(io.BytesIO(body)) as image:
        assert (image.format, image.mode, image.size) == (kind, mode, (6, 4))


@pytest.mark.asyncio
async def test_view_serves_one_channel(server: Server) -> None:
    (server.engine.folders.output / "a.png").write_bytes(GLASS)
    _, color, _ = await view(server, {"filename": "a.png", "channel": "rgb"})
    with Image.open(io.BytesIO(color)) as image:
        assert (image.mode, image.getpixel((0, 0))) == ("RGB", (200, 10, 20))
    _, alpha, _ = await view(server, {"filename": "a.png", "channel": "a"})
    with Image.open(io.BytesIO(alpha)) as image:
        assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (0, 0, 0, 77))


@pytest.mark.asyncio
async def test_preview_of_a_file_that_is_not_an_image_is_a_400(server: Server) -> None:
    (server.engine.folders.output / "a.png").write_bytes(b"no picture")
    assert (await view(server, {"filename": "a.png", "preview": "webp"}))[0] == 400


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.js", "a.xml", "a.css", "a.xhtml"])
async def test_scripts_are_served_as_plain_bytes(server: Server, name: str) -> None:
    (server.engine.folders.output / name).write_bytes(b"<script>")
    _, _, headers = await view(server, {"filename": name})
    assert headers["Content-Type"] == "application/octet-stream"


@pytest.mark.asyncio
async def test_upload_of_other_content_under_a_used_name_gets_a_new_name(server: Server) -> None:
    named = {"subfolder": "", "type": "input"}
    assert await upload(server, RED) == (200, {"name": "a.png", **named})
    assert await upload(server, RED) == (200, {"name": "a.png", **named})
    assert await upload(server, GLASS) == (200, {"name": "a (1).png", **named})
    assert await upload(server, b"third") == (200, {"name": "a (2).png", **named})
    assert await upload(server, GLASS, overwrite="true") == (200, {"name": "a.png", **named})
    assert (server.engine.folders.input / "a.png").read_bytes() == GLASS


@pytest.mark.asyncio
async def test_upload_is_stored_in_the_named_folder(server: Server) -> None:
    assert await upload(server, RED, subfolder="x/y", type="temp") == (
        200,
        {"name": "a.png", "subfolder": "x/y", "type": "temp"},
    )
    assert (server.engine.folders.temp / "x" / "y" / "a.png").read_bytes() == RED


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "fields",
    [
        {"subfolder": ".."},
        {"subfolder": "x/../../.."},
        {"subfolder": "/etc"},
        {"name": ".."},
        {"type": "models"},
    ],
)
async def test_upload_is_stored_only_below_its_folder(server: Server, fields: dict[str, str]) -> None:
    before = everything_in(server.engine.options.base)
    assert (await upload(server, RED, **fields))[0] == 400
    assert everything_in(server.engine.options.base) == before


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["../b.png", "/tmp/b.png", "x/../../b.png"])  # noqa: S108 -- paths that must be refused
async def test_name_of_an_upload_cannot_lead_out_of_its_folder(server: Server, name: str) -> None:
    before = everything_in(server.engine.options.base)
    head = f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    body = head.encode() + RED + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with server.session.post(f"{server.url}/upload/image", data=body, headers=headers) as answer:
        assert answer.status == 400
    assert everything_in(server.engine.options.base) == before


@pytest.mark.asyncio
async def test_an_upload_over_the_limit_is_a_413(start: Start) -> None:
    server = await start("--max-upload-size", "0.001")
    assert (await upload(server, b"x" * 2000))[0] == 413
    # More than the sockets hold: the refusal is read although the server stops reading first.
    assert (await upload(server, b"x" * 20_000_000))[0] == 413
    assert (await server.get("/features"))["max_upload_size"] == 1049


@pytest.mark.asyncio
async def test_a_mask_replaces_the_alpha_of_its_original(server: Server) -> None:
    (server.engine.folders.output / "original.png").write_bytes(RED)
    reference = json.dumps({"filename": "original.png", "subfolder": "", "type": "output"})
    status, body = await upload(server, GLASS, name="mask.png", route="mask", original_ref=reference)
    assert (status, body["name"]) == (200, "mask.png")
    with Image.open(server.engine.folders.input / "mask.png") as image:
        assert image.convert("RGBA").getpixel((3, 3)) == (200, 10, 20, 77)


@pytest.mark.asyncio
@pytest.mark.parametrize("reference", ["", "no json", "{}", '{"filename": "none.png"}', '{"filename": "../x.png"}'])
async def test_mask_without_its_original_is_rejected(server: Server, reference: str) -> None:
    assert (await upload(server, GLASS, route="mask", original_ref=reference))[0] == 400


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "x/../../secret.png", "secret.png [models]", ""])
async def test_load_image_reads_only_files_of_its_folder(server: Server, name: str) -> None:
    """CVE-2026-56673."""
    (server.engine.options.base / "secret.png").write_bytes(RED)
    load: JsonObject = {"class_type": "LoadImage", "inputs": {"image": name}}
    save: JsonObject = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}}
    status, body = await server.post("/prompt", {"prompt": {"1": load, "2": save}})
    assert status == 400
    errors = as_object(as_object(body["node_errors"])["1"])["errors"]
    assert isinstance(errors, list)
    assert as_object(errors[0])["details"] == f"image - Invalid image file: {name}"


@pytest.mark.asyncio
async def test_image_of_the_output_folder_is_loaded_by_its_suffix(server: Server) -> None:
    (server.engine.folders.output / "a.png").write_bytes(RED)
    pictures = await server.pictures({"1": {"class_type": "LoadImage", "inputs": {"image": "a.png [output]"}}}, "1")
    assert (pictures == np.array([200, 10, 20], np.uint8)).all()


def test_save_counter_is_one_above_the_highest_of_its_prefix(tmp_path: Path) -> None:
    for name in ("t_00007_.png", "t_00003_.webp", "tt_00099_.png", "t_x_.png", "t.png"):
        (tmp_path / name).touch()
    target = next_save_target(tmp_path, "t", NOON)
    assert (target.name(0, "png"), target.name(1, "png")) == ("t_00008_.png", "t_00009_.png")


def test_save_prefix_words_are_replaced(tmp_path: Path) -> None:
    target = next_save_target(
        tmp_path, "%year%-%month%-%day%/%width%x%height%_%hour%%minute%%second%_%batch_num%", NOON, 30, 20
    )
    assert (target.subfolder, target.name(2, "png")) == ("2026-03-04", "30x20_120506_2_00003_.png")


@pytest.mark.parametrize("prefix", ["../t", "/tmp/t", "a/../../t", "a\0b"])  # noqa: S108 -- a path that must be refused
def test_save_prefix_that_leads_out_of_its_folder_is_an_error(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OutsideFolder, match="outside the output folder"):
        next_save_target(tmp_path / "out", prefix, NOON)


@pytest.mark.asyncio
async def test_request_of_another_origin_is_rejected(server: Server) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        async with server.session.get(server.url + "/prompt", headers=headers) as answer:
            assert answer.status == 403
    async with server.session.get(server.url + "/prompt", headers={"Origin": server.url}) as answer:
        assert answer.status == 200
