"""Tests of worker_gpu.outputs."""
