"""The OCI runtime: from a spec to a process.

A container is a process to which the kernel shows a world of its own: namespaces are what it sees,
control groups what it may use, its identity, capabilities and filter what it may do. This package
makes such processes. To learn how, read in this order:

====================================== =========================================================
``init``                               all steps from clone3 to execve, in their order
``mounts``, ``rootfs``, ``devices``    the root: planned as data, mounted, entered
``network``                            interfaces, made from inside
``process``                            the last steps: ``users``, ``attributes``,
                                       ``capabilities``, ``seccomp``, ``terminal``, ``pid1``
``status``, ``reports``                what a process on its way tells its maker, and is told
``execs``, ``branch``                  a further process in a container that runs
``userns``, ``idmapped``, ``outside``  root that is nobody outside: who does what it cannot
``sealed``, ``shield``, ``barrier``    no container reaches the interpreter that makes it
``checks``, ``hooks``, ``gate``        what only the OCI life cycle has
``shm``, ``resctrl``, ``verdicts``     what few containers have
====================================== =========================================================

It has two users: ``barque.shim``, by which the engine's containers are made, and ``command``, the
program ``barque-runtime`` with runc's command line. Control groups are ``barque.cgroups``, system
calls ``barque.kernel``. Nothing here knows the engine, and between fork and execve nothing is
imported.
"""
