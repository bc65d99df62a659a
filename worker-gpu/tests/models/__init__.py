"""Tests of the model sync, and the servers they run against."""
