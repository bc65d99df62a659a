"""The worker with a real ComfyUI on the CPU. Run it with REAL_COMFYUI, see `conftest.py`."""
