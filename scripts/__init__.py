"""What the Makefile runs: set-up, demo and checks. Not part of the package."""
