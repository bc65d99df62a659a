"""POST /upload/image and /upload/mask: files into the input, output or temp folder."""

import asyncio
import hashlib
import io
from pathlib import Path

from aiohttp import web
from aiohttp.web_request import FileField
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from local_comfyui.folders import Folders, is_file, is_inside
from local_comfyui.json_types import as_object, parse_json
from local_comfyui.routes.answers import empty, engine_of

MASK_COMPRESSION = 4

routes = web.RouteTableDef()


@routes.post("/upload/image")
async def post_image(request: web.Request) -> web.Response:
    """Multipart `image`, `type` (default input), `subfolder`, `overwrite`: `{name, subfolder, type}`.

    Without `overwrite` a name that is taken by other bytes gets " (1)", " (2)" …; the same bytes are not stored again.
    """
    return await _store(request, mask=False)


@routes.post("/upload/mask")
async def post_mask(request: web.Request) -> web.Response:
    """As /upload/image, plus `original_ref` (JSON): that picture with the alpha of the sent one is stored."""
    return await _store(request, mask=True)


async def _store(request: web.Request, *, mask: bool) -> web.Response:
    folders = engine_of(request).folders
    if request.content_type != "multipart/form-data":
        return empty(400)
    try:
        form = await request.post()
    except ValueError:  # aiohttp's word for multipart that is none
        return empty(400)
    image = form.get("image")
    if not isinstance(image, FileField) or not image.filename:
        return empty(400)
    kind = _text(form.get("type")) or "input"
    root = folders.named(kind)
    subfolder = _text(form.get("subfolder"))
    if root is None or "\0" in subfolder + image.filename or any(mark in image.filename for mark in "/\\"):
        return empty(400)
    folder = root / subfolder
    path = folder / image.filename
    if not is_inside(root, folder) or not is_inside(root, path) or path.name in ("", ".", ".."):
        return empty(400)
    content = await asyncio.to_thread(image.file.read)
    if mask:
        combined = await asyncio.to_thread(_with_alpha, folders, _text(form.get("original_ref")), content)
        if isinstance(combined, web.Response):
            return combined
        content = combined
    overwrite = _text(form.get("overwrite")) in ("true", "1")
    try:
        name = await asyncio.to_thread(_write, path, content, overwrite)
    except OSError:  # a name this file system does not take
        return empty(400)
    return web.json_response({"name": name, "subfolder": subfolder, "type": kind})


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _write(path: Path, content: bytes, overwrite: bool) -> str:
    """Store `content` at `path` or beside it; the name it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, extension = path.stem, path.suffix
    count = 1
    while not overwrite and path.exists():
        if _digest(path.read_bytes()) == _digest(content):
            return path.name
        path = path.with_name(f"{stem} ({count}){extension}")
        count += 1
    path.write_bytes(content)
    return path.name


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _with_alpha(folders: Folders, reference: str, content: bytes) -> bytes | web.Response:
    """PNG of the referenced picture with the alpha channel of the picture in `content`; its text chunks are kept."""
    try:
        original = as_object(parse_json(reference))
    except ValueError:
        return empty(400)
    name, kind, subfolder = original.get("filename"), original.get("type", "output"), original.get("subfolder", "")
    root = folders.named(kind) if isinstance(kind, str) else None
    if not isinstance(name, str) or not name or name.startswith("/") or ".." in name or root is None:
        return empty(400)
    path = root / (subfolder if isinstance(subfolder, str) else "") / name
    if not is_inside(root, path):
        return empty(403)
    if not is_file(path):
        return empty(400)
    try:
        with Image.open(path) as picture, Image.open(io.BytesIO(content)) as mask:
            info = PngInfo()
            if isinstance(picture, PngImageFile):
                for key, value in picture.text.items():
                    info.add_text(key, value)
            result = picture.convert("RGBA")
            result.putalpha(mask.convert("RGBA").getchannel("A"))
    except (OSError, ValueError):  # not a picture, or of another size
        return empty(400)
    buffer = io.BytesIO()
    result.save(buffer, format="PNG", compress_level=MASK_COMPRESSION, pnginfo=info)
    return buffer.getvalue()
