"""Tests of worker_gpu.comfy."""
