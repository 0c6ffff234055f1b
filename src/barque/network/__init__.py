"""Networks of containers: addresses, devices, rules, ports, names.

``service`` is what the engine uses. It puts these together, each of which knows only those above
it:

=============== ================================================================
catalog         the networks, and who holds which address; kept in the database
host            devices, rules and settings of the host: made, and made again
place           what one running container has
joining         a container's endpoints: addresses, interfaces, names
publishing      its ports
sandboxes       its network namespace, and the resolver in there
connecting      its networks changed while it runs
containerfiles  its hosts, hostname and resolv.conf
=============== ================================================================

Decisions are pure: ``definition`` (what a network may be), ``ipam`` (which subnet, which address),
``endpoints`` (the way out, the order of networks), ``refusals`` and ``endpointoptions`` (what a
container may ask), ``names`` (who is called what), ``files`` (texts). At the bottom is what acts
on the kernel: ``bridge``, ``parents``, ``firewall``, ``ports`` and ``relay``, ``advertise``,
``namespaces``, ``resolver``.
"""
