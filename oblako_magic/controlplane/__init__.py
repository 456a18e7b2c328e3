"""The control plane: moto behind a guard, its state on disk, the loop beside it. The only importer of moto.

Importing this package costs nothing; ``process`` needs no moto either.
"""
