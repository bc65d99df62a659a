"""Models on a network volume that several workers share, and in Hugging Face's cache folders."""
