"""Architectures: a short file each, over shared layers, cache and rotary tables."""
