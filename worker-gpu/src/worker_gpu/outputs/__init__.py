"""Outputs of a job: discovery, type, name, content, upload."""
