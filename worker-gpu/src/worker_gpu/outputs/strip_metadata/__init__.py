"""Takes the graph that ComfyUI wrote into a file out of it (`options.metadata: false`).

Page: docs/reference/worker.md, "Metadata".
"""
