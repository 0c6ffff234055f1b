"""The spawner and the shims: the containers' parents.

``launcher`` starts the ``spawner`` for the engine. The spawner forks shims and does nothing else.
A ``shim`` starts its container (``task``; ``mapped`` in a user namespace; ``external`` with another
OCI runtime) and is its parent to the end: ``streams`` and ``clients`` carry its input and output,
``logfile`` keeps what it says. ``protocol`` is what the three say to each other, ``loop`` what a
shim waits in. The engine's side is ``barque.engine.shims``.
"""
