"""GET /view: a file of the input, output or temp folder, as it is, as a preview, or one channel of it."""

import asyncio
import io
from pathlib import Path

from aiohttp import web
from PIL import Image

from local_comfyui.file_kinds import content_type
from local_comfyui.folders import Folders, is_file, is_inside, split_annotation
from local_comfyui.routes.answers import empty, engine_of

DEFAULT_QUALITY = 90

ACTIVE_TYPES = frozenset(
    {
        "text/html",
        "text/html-sandboxed",
        "application/xhtml+xml",
        "application/xml",
        "text/xml",
        "text/javascript",
        "application/javascript",
        "text/css",
        "image/svg+xml",
    }
)
"""Types a browser would execute on this origin: sent as plain bytes (CVE-2026-56670)."""

routes = web.RouteTableDef()


@routes.get("/view")
async def get_view(request: web.Request) -> web.StreamResponse:
    """`filename`, `type` (default output), `subfolder`, `preview=webp;90`, `channel=rgb|a`; ranges for a plain file."""
    path = _find(engine_of(request).folders, request)
    if isinstance(path, web.Response):
        return path
    disposition = f'filename="{path.name}"'
    query = request.query
    try:
        if "preview" in query:
            body, kind = await asyncio.to_thread(_preview, path, query["preview"], query.get("channel", ""))
        elif query.get("channel") in ("rgb", "a"):
            body, kind = await asyncio.to_thread(_channel, path, query["channel"]), "image/png"
        else:
            guessed = content_type(path.name)
            kind = "application/octet-stream" if guessed in ACTIVE_TYPES else guessed
            return web.FileResponse(path, headers={"Content-Disposition": disposition, "Content-Type": kind})
    except OSError:  # Pillow raises it for a file that is not a picture
        return empty(400)
    return web.Response(body=body, content_type=kind, headers={"Content-Disposition": disposition})


def _find(folders: Folders, request: web.Request) -> Path | web.Response:
    name, annotation = split_annotation(request.query.get("filename", ""))
    if not name:
        return empty(404 if "filename" not in request.query else 400)
    if name.startswith("/") or ".." in name or "\0" in name:
        return empty(400)
    root = folders.named(annotation or request.query.get("type", "output"))
    if root is None:
        return empty(400)
    subfolder = request.query.get("subfolder", "")
    if "\0" in subfolder:
        return empty(400)
    path = root / subfolder / Path(name).name
    if not is_inside(root, root / subfolder) or not is_inside(root, path):
        return empty(403)
    return path if is_file(path) else empty(404)


def _preview(path: Path, wish: str, channel: str) -> tuple[bytes, str]:
    parts = wish.split(";")
    kind = parts[0] if parts[0] in ("webp", "jpeg") and "a" not in channel else "webp"
    quality = int(parts[-1]) if parts[-1].isdecimal() else DEFAULT_QUALITY
    with Image.open(path) as image:
        shown = image.convert("RGB") if kind == "jpeg" or channel == "rgb" else image
        buffer = io.BytesIO()
        shown.save(buffer, format=kind, quality=min(quality, 100))
    return buffer.getvalue(), f"image/{kind}"


def _channel(path: Path, channel: str) -> bytes:
    with Image.open(path) as image:
        if channel == "rgb":
            shown = image.convert("RGB")
        else:
            shown = Image.new("RGBA", image.size)
            opaque = Image.new("L", image.size, 255)
            shown.putalpha(image.getchannel("A") if "A" in image.getbands() else opaque)
        buffer = io.BytesIO()
        shown.save(buffer, format="PNG")
    return buffer.getvalue()
