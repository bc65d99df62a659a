"""The worker process and its ComfyUI: start, checks before a job, cleanup after it."""
