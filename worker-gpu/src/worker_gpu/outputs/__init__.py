"""What comes out of a graph: found, classified, hashed, uploaded."""
