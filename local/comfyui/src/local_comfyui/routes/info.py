"""Routes that describe the server."""

import os
import sys

import numpy as np
from aiohttp import web

from local_comfyui import PROTOCOL_VERSION
from local_comfyui.job_folders import FIELD, PROTOCOL
from local_comfyui.json_types import Json, JsonObject
from local_comfyui.routes.answers import empty, engine_of

FOLDERS = [
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "custom_nodes",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
]
"""ComfyUI's model folders. All are empty here."""

NOTICE = (
    "local/comfyui: a development engine that speaks ComfyUI's protocol and executes its model-free nodes on the CPU."
    " It is not ComfyUI."
)

routes = web.RouteTableDef()


@routes.get("/")
async def get_root(_: web.Request) -> web.Response:
    """A notice instead of ComfyUI's front end."""
    return web.Response(text=NOTICE + "\n")


@routes.get("/object_info")
async def get_object_info(request: web.Request) -> web.Response:
    """Every node."""
    engine = engine_of(request)
    return web.json_response(engine.catalog.entries(engine.folders))


@routes.get("/object_info/{node}")
async def get_object_info_of(request: web.Request) -> web.Response:
    """One node under its name; `{}` when there is none."""
    engine, node = engine_of(request), request.match_info["node"]
    entry = engine.catalog.entry(node, engine.folders)
    return web.json_response({} if entry is None else {node: entry})


@routes.get("/models")
async def get_models(_: web.Request) -> web.Response:
    """Names of model folders."""
    return web.json_response(FOLDERS)


@routes.get("/models/{folder}")
async def get_models_in(request: web.Request) -> web.Response:
    """Models in a folder: none; 404 for a folder that ComfyUI does not know."""
    return web.json_response([]) if request.match_info["folder"] in FOLDERS else empty(404)


@routes.get("/embeddings")
@routes.get("/extensions")
async def get_nothing(_: web.Request) -> web.Response:
    """Lists that are empty here."""
    return web.json_response([])


@routes.get("/features")
async def get_features(request: web.Request) -> web.Response:
    """What the server can do; also sent to clients that send their own flags."""
    return web.json_response({**engine_of(request).features, FIELD: PROTOCOL})


@routes.get("/system_stats")
async def get_system_stats(request: web.Request) -> web.Response:
    """Memory, versions and the device, in ComfyUI's format, plus `development_engine`."""
    total, free = memory()
    system: JsonObject = {
        "os": os.name,
        "ram_total": total,
        "ram_free": free,
        "comfyui_version": PROTOCOL_VERSION,
        "required_frontend_version": None,
        "installed_templates_version": None,
        "required_templates_version": None,
        "python_version": sys.version,
        "pytorch_version": f"none (numpy {np.__version__})",
        "embedded_python": False,
        "argv": [*engine_of(request).options.argv],
        "development_engine": NOTICE,
    }
    device: JsonObject = {
        "name": "cpu",
        "type": "cpu",
        "index": None,
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": total,
        "torch_vram_free": free,
    }
    devices: list[Json] = [device]
    return web.json_response({"system": system, "devices": devices})


def memory() -> tuple[int, int]:
    """Bytes of memory: all, and free. 0 if unknown."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    except (AttributeError, ValueError, OSError):
        return 0, 0
