"""Tests of worker_gpu.lifecycle."""
