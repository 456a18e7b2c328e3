"""``%ec2 shell``: a shell on an instance, in the notebook or in a terminal (ADR 0010)."""
