"""Tests of worker_gpu.job."""
