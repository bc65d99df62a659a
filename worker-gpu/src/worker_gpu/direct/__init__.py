"""Direct jobs: a workflow in RunPod's input, without a gateway."""
