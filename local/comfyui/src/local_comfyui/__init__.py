"""A CPU development engine that speaks ComfyUI's protocol. It is not ComfyUI."""

PROTOCOL_VERSION = "0.3.64"
"""The ComfyUI version whose recorded traffic this engine reproduces."""
