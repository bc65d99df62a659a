"""Results of nodes, kept from one prompt to the next: a node whose inputs did not change does not run again.

What a result is filed under is a digest of the node's class, its values, its fingerprint (a file's content, say) and
the digests of everything it depends on; node ids play no part. As in ComfyUI this has a trap for its users: a save node
with unchanged inputs does not save again, and reports the name of the file it saved first, which may be gone.
"""

import hashlib
import itertools
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local_comfyui.folders import Folders
from local_comfyui.graph import Graph, Node, as_link
from local_comfyui.json_types import Json, JsonObject
from local_comfyui.nodes.registry import Implementation, Ui, Value


@dataclass(frozen=True)
class Finished:
    """A node's result: per output the list of its values, its report (None without one), and `meta` of the history."""

    outputs: list[list[Value]]
    ui: Ui | None
    meta: JsonObject


_never_again = itertools.count()


class Signatures:
    """The digests of one prompt's nodes. `kept_for` gives what else must be equal."""

    def __init__(
        self,
        graph: Graph,
        implementations: Mapping[str, Implementation],
        folders: Folders,
        kept_for: Callable[[Node], str] = lambda _: "",
    ) -> None:
        self._graph, self._implementations, self._folders = graph, implementations, folders
        self._kept_for = kept_for
        self._known: dict[str, str] = {}

    def of(self, node_id: str) -> str:
        """Digest of a node."""
        if node_id not in self._known:
            self._known[node_id] = self._compute(node_id)
        return self._known[node_id]

    def _compute(self, node_id: str) -> str:
        node = self._graph[node_id]
        parts: list[Json] = [node.class_type, self._fingerprint(node_id), self._kept_for(node)]
        for name, value in sorted(node.inputs.items()):
            link = as_link(value)
            if link is None or link.node not in self._graph:
                parts.append([name, "value", value])
            else:
                parts.append([name, "link", self.of(link.node), link.slot])
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _fingerprint(self, node_id: str) -> str:
        node = self._graph[node_id]
        fingerprint = self._implementations[node.class_type].fingerprint
        if fingerprint is None:
            return ""
        found = fingerprint(node.inputs, self._folders)
        return found if found is not None else f"never again {next(_never_again)}"


class Results:
    """The policy of the cache: without `size` what the last prompt used; with it the `size` most recently used; or
    nothing."""

    def __init__(self, *, keep: bool, size: int | None) -> None:
        self._keep, self._size = keep, size
        self._kept: OrderedDict[str, Finished] = OrderedDict()

    def start(self, signatures: set[str]) -> None:
        """A prompt with these digests starts: delete the results that the policy no longer keeps."""
        if self._size is None:
            for stale in [signature for signature in self._kept if signature not in signatures]:
                del self._kept[stale]
            return
        for signature in signatures & self._kept.keys():
            self._kept.move_to_end(signature)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def get(self, signature: str) -> Finished | None:
        """The kept result, or None."""
        return self._kept.get(signature)

    def put(self, signature: str, finished: Finished) -> None:
        """Keep a result."""
        if self._keep:
            self._kept[signature] = finished

    def clear(self) -> None:
        """Delete everything (`/free`)."""
        self._kept.clear()
