"""What this worker was built from: the image's version, and the custom nodes that its lock file brought in."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker_gpu.json_readers import Json, JsonObject, ShapeError, decode, maybe_list, maybe_object, maybe_text

RECORD_NAME = "nodes.json"
"""Beside the folder of ComfyUI; image/fetch.py writes it while the image is built."""
MAX_IMAGE_CHARS = 200
"""The contract's bound (src/contract/worker.ts)."""


@dataclass(frozen=True)
class NodePack:
    """A folder of custom nodes at one commit."""

    name: str
    commit: str


@dataclass(frozen=True)
class Build:
    """`image` is None without an image version, and `nodes` is None without a record of the nodes."""

    image: str | None = None
    nodes: tuple[NodePack, ...] | None = None

    @property
    def nodes_digest(self) -> str | None:
        """SHA-256 of the nodes, one line `name commit` each, sorted: the same set has the same digest anywhere."""
        if self.nodes is None:
            return None
        lines = sorted(f"{node.name} {node.commit}\n" for node in self.nodes)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_wire(self) -> JsonObject:
        """As the reports carry it."""
        nodes: list[Json] = [{"name": node.name, "commit": node.commit} for node in self.nodes or ()]
        return {"image": self.image, "nodes_digest": self.nodes_digest, "nodes": nodes}


def read_build(env: Mapping[str, str]) -> Build:
    """The build that `env` and the record tell of. A record that cannot be read counts as none: it only explains."""
    named, comfyui = env.get("NODES_RECORD"), env.get("COMFYUI_PATH")
    path = Path(named) if named else Path(comfyui).parent / RECORD_NAME if comfyui else None
    return Build((env.get("IMAGE_VERSION") or "")[:MAX_IMAGE_CHARS] or None, _read(path) if path is not None else None)


def _read(path: Path) -> tuple[NodePack, ...] | None:
    try:
        listed = decode(path.read_bytes())
    except (OSError, ShapeError):
        return None
    if not isinstance(listed, list):
        return None
    entries = [maybe_object(entry) for entry in maybe_list(listed)]
    named = [(maybe_text(entry.get("name")), maybe_text(entry.get("commit"))) for entry in entries]
    return tuple(NodePack(name, commit) for name, commit in named if name is not None and commit is not None)
