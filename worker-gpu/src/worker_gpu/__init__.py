"""The RunPod worker of comfy-edge: claims a job at the gateway, runs it in a ComfyUI, uploads what comes out."""

VERSION = "0.1.0"
