"""The order in which nodes run: inputs before their users, and outputs as early as possible."""

from collections.abc import Callable

from local_comfyui.graph import Graph


class Schedule:
    """Nodes waiting to run. Nodes whose result is already known are not waited for, only outputs themselves are.

    Among the nodes that could run, an output goes first, then one that an output waits for, then one that such a node
    waits for, then the one that was added first: ComfyUI's rule, so that results appear early.
    """

    def __init__(self, graph: Graph, is_known: Callable[[str], bool], is_output: Callable[[str], bool]) -> None:
        self._graph, self._is_known, self._is_output = graph, is_known, is_output
        self._waits_for: dict[str, int] = {}
        self._users: dict[str, dict[str, None]] = {}

    def add(self, output: str) -> None:
        """Add an output and everything it needs."""
        stack = [output]
        while stack:
            node_id = stack.pop()
            if node_id in self._waits_for:
                continue
            needed = list(
                dict.fromkeys(link.node for _, link in self._graph[node_id].links() if not self._is_known(link.node))
            )
            self._waits_for[node_id] = len(needed)
            self._users.setdefault(node_id, {})
            for source in needed:
                self._users.setdefault(source, {})[node_id] = None
            stack += needed

    def take(self) -> str | None:
        """The next node to run, or None when all have run. Call `done` before the next `take`."""
        ready = [node_id for node_id, count in self._waits_for.items() if count == 0]
        if not ready:
            return None
        return min(ready, key=self._distance_to_output)

    def done(self, node_id: str) -> None:
        """The node has run: nodes that use it no longer wait for it."""
        del self._waits_for[node_id]
        for user in self._users.pop(node_id):
            self._waits_for[user] -= 1

    def _distance_to_output(self, node_id: str) -> int:
        nearest, level = 0, [node_id]
        while nearest < 3:
            if any(self._is_output(candidate) for candidate in level):
                return nearest
            level = [user for candidate in level for user in self._users.get(candidate, {})]
            nearest += 1
        return nearest
