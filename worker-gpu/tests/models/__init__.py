"""Tests of model files, and the servers that they use."""
