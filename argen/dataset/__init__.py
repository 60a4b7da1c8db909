"""Clips on disk: layouts in, decode, encode, lists out. Knows nothing of faces."""
