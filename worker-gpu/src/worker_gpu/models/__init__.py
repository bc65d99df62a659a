"""Model files: the manifest, downloads, the models folder on disk, the network volume, and the command line."""
