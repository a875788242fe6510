"""Engines under test: each runs in a process of its own, in whatever interpreter has it.

`protocol` is what that process speaks, `client` how the harness talks to it, and each other module
adapts one engine. `python -m bench.engines FILE:CLASS` is the process.
"""
