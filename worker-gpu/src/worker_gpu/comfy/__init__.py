"""The ComfyUI side: HTTP, socket, and one state machine that both feed."""
