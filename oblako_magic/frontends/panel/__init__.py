"""The panel: a live table of instances beside the notebook (ADR 9).

``feed`` follows the control plane in one thread of the kernel, ``rows`` makes of its answers what a browser needs,
``widget`` is the model that the browser talks to, ``actions`` does what was clicked, ``figures`` reads CPU and memory
of what is on the screen, ``following`` streams logs; ``static/`` is what runs in the browser.
"""
