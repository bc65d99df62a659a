"""Fetching the files of a manifest: a pool of threads that read ranges by obstore, hash them and write them."""
