"""Why a job failed: one error type with a code of the contract."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from worker_gpu.json_readers import JsonObject
from worker_gpu.redaction import public_text

Code = Literal[
    "invalid_workflow",
    "node_not_allowed",
    "input_fetch_failed",
    "model_missing",
    "out_of_memory",
    "insufficient_resources",
    "execution_error",
    "timeout",
    "comfyui_unavailable",
    "output_missing",
    "output_too_large",
    "upload_failed",
    "internal",
]
"""The codes a worker reports (docs/reference/worker-contract.md, "Error codes a worker reports")."""

AT_WORKFLOW: frozenset[Code] = frozenset(
    {"invalid_workflow", "node_not_allowed", "model_missing", "execution_error", "output_too_large"}
)
RETRYABLE: frozenset[Code] = frozenset(
    {
        "input_fetch_failed",
        "out_of_memory",
        "insufficient_resources",
        "comfyui_unavailable",
        "upload_failed",
        "internal",
    }
)


@dataclass(frozen=True)
class NodeRef:
    """A node of the graph the client sent."""

    id: str
    class_type: str


class JobError(Exception):
    """A job's failure. `message` is for the client's eyes: one cause, no paths, hosts or tracebacks. `comfy_lost`: the
    ComfyUI that ran the job is of no use to the next one before it is restarted."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        node: NodeRef | None = None,
        details: JsonObject | None = None,
        comfy_lost: bool = False,
    ) -> None:
        self.code: Code = code
        self.comfy_lost = comfy_lost or code == "comfyui_unavailable"
        self.message = public_text(message)
        self.node = node
        self.details = details
        super().__init__(f"{code}: {self.message}")

    def with_classes(self, classes: Mapping[str, str]) -> "JobError":
        """This error, its node's class looked up in `classes` where ComfyUI did not name it."""
        if self.node is not None and not self.node.class_type:
            self.node = NodeRef(self.node.id, classes.get(self.node.id, ""))
        return self

    def to_wire(self) -> JsonObject:
        """The `error` of a `complete` call."""
        wire: JsonObject = {
            "code": self.code,
            "message": self.message,
            "at": "workflow" if self.code in AT_WORKFLOW else "worker",
            "retryable": self.code in RETRYABLE,
        }
        if self.node is not None:
            wire["node"] = {"id": self.node.id, "class_type": self.node.class_type}
        if self.details:
            wire["details"] = self.details
        return wire
