"""How far a graph is: per node, and over all of it, never falling."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from worker_gpu.comfy.messages import NodePhase
from worker_gpu.json_readers import JsonObject

DONE: frozenset[NodePhase] = frozenset({"finished", "cached"})


@dataclass(frozen=True)
class NodeState:
    """What one node does: `value` of `max` steps."""

    phase: NodePhase
    value: float
    max: float

    @property
    def fraction(self) -> float:
        """0 to 1."""
        if self.phase in DONE:
            return 1.0
        return min(1.0, max(0.0, self.value / self.max)) if self.phase == "running" and self.max > 0 else 0.0


@dataclass(frozen=True)
class Progress:
    """The progress of a run. `nodes` are the nodes that changed since the previous progress."""

    value: float
    nodes_done: int
    nodes_total: int
    current_node: str | None = None
    current_node_class: str | None = None
    step: float | None = None
    steps: float | None = None
    nodes: Mapping[str, NodeState] = field(default_factory=dict[str, NodeState])
    classes: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def after(self, unsent: "Progress | None") -> "Progress":
        """This progress in place of `unsent`, whose node changes it takes over."""
        return self if unsent is None else replace(self, nodes={**unsent.nodes, **self.nodes})

    def to_wire(self) -> JsonObject:
        """The fields of a `progress` message."""
        wire: JsonObject = {
            "value": round(self.value, 4),
            "nodes_done": self.nodes_done,
            "nodes_total": self.nodes_total,
        }
        if self.current_node is not None:
            wire["current_node"] = self.current_node
            wire["current_node_class"] = self.current_node_class
        if self.step is not None and self.steps is not None:
            wire["step"], wire["steps"] = self.step, self.steps
        if self.nodes:
            wire["nodes"] = {
                node: {"state": s.phase, "value": s.value, "max": s.max, "class_type": self.classes.get(node, "")}
                for node, s in self.nodes.items()
            }
        return wire


class ProgressBook:
    """Keeps the state of each node of the graph. Nodes that ComfyUI adds while it runs (expansion) are counted by the
    node they stand for, which the graph has. No step costs more in a larger graph."""

    def __init__(self, classes: Mapping[str, str]) -> None:
        self._classes = classes
        self._states: dict[str, NodeState] = {}
        self._running: dict[str, NodeState] = {}
        self._done = 0
        self._changed: dict[str, NodeState] = {}
        self._current: str | None = None
        self._highest = 0.0
        self._last_value: float | None = None

    @property
    def current(self) -> str | None:
        """The node that runs, if one does."""
        return self._current

    def mark(self, node: str, phase: NodePhase, value: float = 0.0, most: float = 1.0) -> None:
        """Note the state of a node; nodes that are not in the graph are passed over."""
        before = self._states.get(node)
        if node not in self._classes or (
            before is not None and (before.phase, before.value, before.max) == (phase, value, most)
        ):
            return
        state = NodeState(phase, value, most)
        self._states[node] = self._changed[node] = state
        self._done += (phase in DONE) - (before is not None and before.phase in DONE)
        self._running.pop(node, None)
        if phase == "running":
            self._running[node] = state

    def run(self, node: str | None) -> None:
        """Note which node runs."""
        self._current = node if node in self._classes else None

    def phase(self, node: str) -> NodePhase:
        """The state of `node`; pending where nothing was heard of it."""
        state = self._states.get(node)
        return state.phase if state is not None else "pending"

    def finish(self) -> None:
        """Note that the graph is done: nodes that lead to no output never run, and the whole is complete."""
        self._current = None
        self._highest = 1.0
        for node, state in list(self._running.items()):
            self.mark(node, "finished", state.max, state.max)

    def take(self) -> Progress | None:
        """Progress since the last take; None when nothing changed."""
        total = len(self._classes)
        fractions = self._done + sum(state.fraction for state in self._running.values())
        value = max(self._highest, min(1.0, fractions / total) if total else 1.0)
        if not self._changed and value == self._last_value:
            return None
        self._highest = self._last_value = value
        changed, self._changed = self._changed, {}
        current = self._states.get(self._current) if self._current is not None else None
        stepping = current if current is not None and current.max > 1 else None
        return Progress(
            value=value,
            nodes_done=self._done,
            nodes_total=total,
            current_node=self._current,
            current_node_class=self._classes.get(self._current, "") if self._current is not None else None,
            step=stepping.value if stepping else None,
            steps=stepping.max if stepping else None,
            nodes=changed,
            classes=self._classes,
        )
