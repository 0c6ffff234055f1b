"""Use cases: what users do with containers, execs, volumes, networks, and what follows from it.

``engine`` wires the services together; ``contracts`` is what they ask of the parts below them.

==================== =============================================================
a container's life   ``creation`` → ``launching`` → ``tasks`` → ``removal``;
                     ``containers`` calls them as users do
what it is to be     ``validate``, ``merging``, ``mounts``, ``devices``, ``limits``,
                     ``security``, ``userns``, ``logconfig``; ``spec`` makes of
                     that what its init is told
while it runs        ``execs``, ``attaching``, ``logs``, ``stats``, ``top``,
                     ``health``, ``oom``, ``updating``, ``files``
when nobody asks     ``reconcile`` at a start, ``restart``, ``background``,
                     ``trash``
where it is known    ``registry`` of ``handle``s; ``events`` tell of changes
beside it            ``volumes``, ``networking``, ``system``, ``checking``
==================== =============================================================

A container is changed under the lock of its handle only. Its processes are reached through
``shims``, which goes on with those of the last engine.
"""
