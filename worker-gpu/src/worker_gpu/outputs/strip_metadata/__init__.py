"""Removes the workflow that ComfyUI wrote into a file (`options.metadata: false`). docs/reference/worker.md,
"Metadata"."""
