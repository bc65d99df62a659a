"""The manifest of model files: its entries, when a worker reads it again, and which of its files a workflow names."""
