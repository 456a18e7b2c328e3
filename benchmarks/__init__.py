"""Benchmarks: what oblako_magic costs over the plain thing, both measured in turn in one run.

``python -m benchmarks`` (``make bench``) writes the table of docs/performance.md; ``--quick`` takes fewer rounds.
"""
