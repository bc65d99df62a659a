"""Model files: what the bucket holds, what this machine has, and how the one becomes the other.

Guide: docs/guides/models.md.
"""
