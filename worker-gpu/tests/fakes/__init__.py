"""Stand-ins for what the worker talks to: a ComfyUI that plays recordings, a gateway with its store."""
