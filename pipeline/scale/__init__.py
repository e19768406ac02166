"""Scaling: what is driven (stages, empty), on whom (workers), what it took (measuring), and what follows (laws)."""
