"""Validates a prompt before it is queued, with ComfyUI's errors in its words and format.

A prompt is rejected as a whole (`Refused`), or accepted with those outputs whose nodes are all valid (`Accepted`, whose
`node_errors` then tell what was left out: ComfyUI answers 200 in that case too).
"""

from dataclasses import dataclass, field

from local_comfyui.catalog import Catalog
from local_comfyui.folders import Folders
from local_comfyui.graph import Graph, Node
from local_comfyui.input_rules import connects, declared_inputs, fault, judge_value
from local_comfyui.json_types import Json, JsonObject, as_object


@dataclass(frozen=True)
class Refused:
    """`error` and `node_errors` of the 400 answer."""

    error: JsonObject
    node_errors: JsonObject


@dataclass(frozen=True)
class Accepted:
    """The graph with converted values, the valid outputs to run, and the errors of the others."""

    graph: Graph
    outputs: list[str]
    node_errors: JsonObject


@dataclass(frozen=True)
class Verdict:
    """One node's own errors, and whether it and all it depends on are valid."""

    valid: bool
    errors: list[JsonObject] = field(default_factory=list[JsonObject])


@dataclass(frozen=True)
class Unjudged:
    """A node that could not be validated: a link to a missing node. ComfyUI has an exception of type `kind` there."""

    kind: str
    text: str


def validate(
    prompt: JsonObject, catalog: Catalog, folders: Folders, only: list[str] | None = None
) -> Accepted | Refused:
    """Validate `prompt`; `only` restricts the outputs (partial_execution_targets)."""
    graph: Graph = {}
    for node_id, raw in prompt.items():
        raw_node = as_object(raw)
        class_type = raw_node.get("class_type")
        if not isinstance(class_type, str):
            message = "Cannot execute because a node is missing the class_type property."
            return Refused(fault("invalid_prompt", message, f"Node ID '#{node_id}'"), {})
        entry = catalog.entry(class_type, folders)
        if entry is None:
            message = f"Cannot execute because node {class_type} does not exist."
            details = f"Node ID '#{node_id}'{catalog.advice(class_type)}"
            return Refused(fault("invalid_prompt", message, details), {})
        graph[node_id] = Node(node_id, class_type, declared_inputs(as_object(raw_node.get("inputs")), entry))
    outputs = [
        node.id for node in graph.values() if catalog.is_output(node.class_type) and (only is None or node.id in only)
    ]
    if not outputs:
        return Refused(fault("prompt_no_outputs", "Prompt has no outputs", ""), {})
    return _Judge(graph, catalog, folders).judge(outputs)


class _Judge:
    def __init__(self, graph: Graph, catalog: Catalog, folders: Folders) -> None:
        self._graph, self._catalog, self._folders = graph, catalog, folders
        self._verdicts: dict[str, Verdict] = {}

    def judge(self, outputs: list[str]) -> Accepted | Refused:
        good: list[str] = []
        complaints: list[str] = []
        node_errors: dict[str, JsonObject] = {}
        dependents: dict[str, list[Json]] = {}
        for output in outputs:
            verdict = self._node(output, [])
            if isinstance(verdict, Unjudged):
                extra: JsonObject = {"exception_type": verdict.kind, "traceback": []}
                error = fault("exception_during_validation", "Exception when validating node", verdict.text, extra)
                verdict = self._verdicts[output] = Verdict(False, [error])
            if verdict.valid:
                good.append(output)
                continue
            complaints += [f"{error['message']}: {error['details']}" for error in verdict.errors]
            for node_id, judged in self._verdicts.items():
                if not judged.valid and judged.errors:
                    dependent = dependents.setdefault(node_id, [])
                    dependent.append(output)
                    node_errors[node_id] = {
                        "errors": [*judged.errors],
                        "dependent_outputs": dependent,
                        "class_type": self._graph[node_id].class_type,
                    }
        errors: JsonObject = dict(node_errors)
        if good:
            return Accepted(self._graph, good, errors)
        message = "Prompt outputs failed validation"
        return Refused(fault("prompt_outputs_failed_validation", message, "\n".join(complaints)), errors)

    def _node(self, node_id: str, path: list[str]) -> Verdict | Unjudged:
        known = self._verdicts.get(node_id)
        if known is not None:
            return known
        node = self._graph[node_id]
        if node_id in path:
            return self._cycle(node_id, path)
        entry = as_object(self._catalog.entry(node.class_type, self._folders))
        errors: list[JsonObject] = []
        valid = True
        for group, specs in as_object(entry["input"]).items():
            if group not in ("required", "optional"):
                continue
            for name, spec in as_object(specs).items():
                if name not in node.inputs:
                    if group == "required":
                        extra: JsonObject = {"input_name": name}
                        errors.append(fault("required_input_missing", "Required input is missing", name, extra))
                    continue
                outcome = self._input(node, name, spec, [*path, node_id])
                if isinstance(outcome, Unjudged):
                    return outcome
                valid = valid and outcome.valid
                errors += outcome.errors
        errors += self._custom(node)
        verdict = Verdict(valid and not errors, errors)
        already = self._verdicts.get(node_id)  # A cycle found below may have validated this node first.
        if already is not None:
            verdict = Verdict(False, already.errors + [error for error in errors if error not in already.errors])
        self._verdicts[node_id] = verdict
        return verdict

    def _cycle(self, node_id: str, path: list[str]) -> Verdict:
        around = path[path.index(node_id) :]
        shown = " -> ".join(f"{step} ({self._graph[step].class_type})" for step in [*around, node_id])
        for step in around:
            extra: JsonObject = {"node_id": step, "cycle_nodes": [*around]}
            self._verdicts[step] = Verdict(
                False, [fault("dependency_cycle", "Dependency cycle detected", shown, extra)]
            )
        return self._verdicts[node_id]

    def _custom(self, node: Node) -> list[JsonObject]:
        implementation = self._catalog.implementations[node.class_type]
        name = implementation.checked
        if (
            implementation.check is None
            or name is None
            or name not in node.inputs
            or isinstance(node.inputs[name], list)
        ):
            return []
        complaint = implementation.check(node.inputs, self._folders)
        if complaint is None:
            return []
        message = "Custom validation failed for node"
        return [fault("custom_validation_failed", message, f"{name} - {complaint}", {"input_name": name})]

    def _input(self, node: Node, name: str, spec: Json, path: list[str]) -> Verdict | Unjudged:
        declared: Json = spec[0] if isinstance(spec, list) else None
        config = as_object(spec[1]) if isinstance(spec, list) and len(spec) > 1 else {}
        extra: JsonObject = {"input_name": name, "input_config": [declared, config]}
        value = node.inputs[name]
        if isinstance(value, list):
            return self._link(value, name, declared, extra, path)
        listed = self._catalog.implementations[node.class_type].checked != name
        node.inputs[name], error = judge_value(name, value, declared, config, listed=listed)
        return Verdict(error is None, [] if error is None else [error])

    def _link(
        self, value: list[Json], name: str, declared: Json, extra: JsonObject, path: list[str]
    ) -> Verdict | Unjudged:
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return Verdict(False, [fault("bad_linked_input", message, name, {**extra, "received_value": value})])
        source, slot = value
        if not isinstance(source, str) or source not in self._graph:
            return Unjudged("KeyError", repr(source))
        provided = as_object(self._catalog.entry(self._graph[source].class_type, self._folders)).get("output")
        if not isinstance(slot, int) or isinstance(slot, bool):
            return Unjudged("TypeError", f"tuple indices must be integers or slices, not {type(slot).__name__}")
        if not isinstance(provided, list) or not 0 <= slot < len(provided):
            return Unjudged("IndexError", "tuple index out of range")
        if not connects(provided[slot], declared):
            message = "Return type mismatch between linked nodes"
            details = f"{name}, received_type({provided[slot]}) mismatch input_type({declared})"
            more: JsonObject = {**extra, "received_type": provided[slot], "linked_node": value}
            return Verdict(False, [fault("return_type_mismatch", message, details, more)])
        verdict = self._node(source, path)
        if isinstance(verdict, Unjudged):
            more = {
                **extra,
                "exception_message": verdict.text,
                "exception_type": verdict.kind,
                "traceback": [],
                "linked_node": value,
            }
            message = "Exception when validating inner node"
            self._verdicts[source] = Verdict(
                False, [fault("exception_during_inner_validation", message, verdict.text, more)]
            )
            return Verdict(False)
        return Verdict(verdict.valid)
