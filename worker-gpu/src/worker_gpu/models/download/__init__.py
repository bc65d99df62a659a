"""Downloads of model files: a pool of threads that read ranges with obstore, hash them and write them."""
