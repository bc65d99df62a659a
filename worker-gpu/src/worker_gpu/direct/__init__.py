"""Jobs without a gateway: the graph in RunPod's input, the outputs in its answer. docs/reference/worker.md."""
