"""Make what is follow what should be: ``plan`` decides, ``loop`` acts (design, "The way data flows")."""
