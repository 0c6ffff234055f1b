"""Loading what forks processes into containers where nothing can be written.

The interpreter is a sealed copy (``runtime.sealed``), but the libraries that it maps are the
host's. A container that may trace and has CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE could open those
of its init for writing, through ``/proc/PID/map_files``. The kernel opens them by the mounts that
they were mapped by. So they are mapped where all mounts are read-only, and stay so for good.
"""

from __future__ import annotations

import errno
import os

from barque.errors import KernelError
from barque.kernel import mount as km
from barque.kernel.process import CLONE_NEWNS, setns, unshare


def shield() -> list[int]:
    """Enter a mount namespace of our own, all of it read-only.

    Returns what ``go_home`` takes: descriptors that the program inherits which is executed from
    here. They are none where we may make no namespace: there will be no container either. Raises
    KernelError where there could be containers, but no shield.
    """
    home = [os.open("/proc/self/ns/mnt", os.O_RDONLY), os.open("/", os.O_PATH)]
    try:
        unshare(CLONE_NEWNS)
    except KernelError as error:
        for fd in home:
            os.close(fd)
        if error.errno != errno.EPERM:
            raise
        return []
    root = os.open("/", os.O_PATH)
    readonly = km.MOUNT_ATTR_RDONLY
    km.set_attributes(root, set_=readonly, propagation=km.MS_SLAVE, recursive=True, what="/")
    os.close(root)
    for fd in home:
        os.set_inheritable(fd, True)
    return home


def go_home(home: list[int]) -> None:
    """Return to the mount namespace and the root that ``shield`` left. Takes the descriptors."""
    if not home:
        return
    namespace, root = home
    setns(namespace, CLONE_NEWNS)
    os.fchdir(root)
    os.chroot(".")
    for fd in home:
        os.close(fd)
