"""Which node classes this worker runs, in addition to what the gateway checks: NODE_ALLOW and NODE_DENY."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from worker_gpu.errors import JobError, NodeRef


@dataclass(frozen=True)
class NodePolicy:
    """Class names, exact but for `*` (any characters) and `?` (one), as in the gateway's policies. What is denied is
    refused; a non-empty `allow` refuses all else."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @staticmethod
    def parse(allow: str, deny: str) -> "NodePolicy":
        """From two comma-separated lists."""
        return NodePolicy(_names(allow), _names(deny))

    def permits(self, class_type: str) -> bool:
        """Whether nodes of that class may run."""
        if self._denied.fullmatch(class_type) is not None:
            return False
        return not self.allow or self._allowed.fullmatch(class_type) is not None

    @cached_property
    def _denied(self) -> re.Pattern[str]:
        return pattern_of(self.deny)

    @cached_property
    def _allowed(self) -> re.Pattern[str]:
        return pattern_of(self.allow)

    def check(self, classes: Mapping[str, str]) -> None:
        """Raises `JobError` `node_not_allowed` for the first node of the graph that may not run."""
        for node, class_type in classes.items():
            if not self.permits(class_type):
                raise JobError(
                    "node_not_allowed",
                    f"This worker does not run nodes of the class {class_type}.",
                    node=NodeRef(node, class_type),
                )


def pattern_of(names: Iterable[str]) -> re.Pattern[str]:
    """What matches the class names that `names` stand for. fnmatch will not do: it reads `[unsafe]` as one letter."""
    signs = {"*": ".*", "?": "."}
    alternatives = ("".join(signs.get(sign) or re.escape(sign) for sign in name) for name in names)
    # Without names the pattern matches nothing.
    return re.compile("|".join(f"(?:{one})" for one in alternatives) or r"(?!)", re.DOTALL)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
