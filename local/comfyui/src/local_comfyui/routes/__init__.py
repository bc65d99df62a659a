"""ComfyUI's HTTP routes. Every one exists at the root and again under /api."""

from local_comfyui.routes.app import build_app

__all__ = ["build_app"]
