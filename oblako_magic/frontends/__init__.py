"""What a person uses: the magics, the command line, completion and the pictures of results.

Front ends parse, call ``oblako_magic.cloud`` and show; they know no rule of EC2 (design, "The way data
flows"). Only this folder imports IPython and ipywidgets. Nothing is imported here, so that a module of
the folder costs no more than itself.
"""
