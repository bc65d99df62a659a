"""The nodes this engine executes, by theme. `load_nodes` gathers them."""

from local_comfyui.nodes import (
    batches,
    color,
    composites,
    images,
    masks,
    primitives,
    saves,
    scenes,
    sounds,
    strings,
    transforms,
    videos,
)
from local_comfyui.nodes.probes import NODES as PROBES
from local_comfyui.nodes.registry import Implementation

THEMES = (images, transforms, color, composites, masks, batches, primitives, strings, saves, videos, sounds, scenes)


def load_nodes(*, probe_nodes: bool) -> dict[str, Implementation]:
    """Every implementation by class name; the test nodes only when asked for."""
    found: dict[str, Implementation] = {}
    for theme in THEMES:
        found.update(theme.NODES.implementations)
    if probe_nodes:
        found.update(PROBES.implementations)
    return found
