"""Imports of files by mapping: a file becomes durable first, then rows, in chunks that survive a kill (53, 70, 124)."""
