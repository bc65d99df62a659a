"""Which node classes this worker runs, whatever the gateway allows: NODE_ALLOW and NODE_DENY."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from worker_gpu.errors import JobError, NodeRef


@dataclass(frozen=True)
class NodePolicy:
    """Class names or patterns (`*`, `?`). What is denied is refused; a non-empty `allow` refuses all else."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @staticmethod
    def parse(allow: str, deny: str) -> "NodePolicy":
        """From two comma-separated lists."""
        return NodePolicy(_names(allow), _names(deny))

    def permits(self, class_type: str) -> bool:
        """Whether nodes of that class may run."""
        if any(fnmatchcase(class_type, pattern) for pattern in self.deny):
            return False
        return not self.allow or any(fnmatchcase(class_type, pattern) for pattern in self.allow)

    def check(self, classes: Mapping[str, str]) -> None:
        """Raises `JobError` `node_not_allowed` for the first node of the graph that may not run."""
        for node, class_type in classes.items():
            if not self.permits(class_type):
                raise JobError(
                    "node_not_allowed",
                    f"This worker does not run nodes of the class {class_type}.",
                    node=NodeRef(node, class_type),
                )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
