"""Tests of worker_gpu.wire."""
