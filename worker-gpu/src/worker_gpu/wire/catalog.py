"""Sends ComfyUI's node catalog to the gateway beside the job, once, if the claim asks for it.

The catalog goes whatever becomes of the prompt: a wrong catalog at the gateway refuses the jobs that could replace it.
"""

import asyncio

from worker_gpu.comfy.client import Catalog
from worker_gpu.wire.client import GatewayClient


class CatalogSender:
    """`is_wanted` is what the claim says."""

    def __init__(self, gateway: GatewayClient, is_wanted: bool) -> None:
        self._gateway = gateway
        self._is_wanted = is_wanted
        self._sending: asyncio.Task[None] | None = None

    def send_once(self, comfyui_version: str | None, catalog: Catalog) -> None:
        """Start to send the catalog. Does nothing if it is not wanted or was sent before."""
        if self._is_wanted and self._sending is None:
            self._sending = asyncio.create_task(self._gateway.send_catalog(comfyui_version, catalog))

    async def wait_sent(self, limit_s: float) -> None:
        """Wait until the catalog is sent, at most `limit_s`: the gateway rejects it once the attempt has ended."""
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=limit_s)
