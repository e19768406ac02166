"""Inspirals into massive black holes as TianQin would see them: sources, waveforms, response, whitening, tables."""
