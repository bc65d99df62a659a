"""The models folder of this machine: its files and their index, free space, partial files and integrity checks."""
