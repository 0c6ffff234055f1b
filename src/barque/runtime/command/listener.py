"""The seccomp listener of a container: passed on to who decides about its system calls.

Source: runtime-spec config-linux.md "The Container Process State".
"""

from __future__ import annotations

import msgspec

from barque.errors import InvalidArgument
from barque.models import oci
from barque.runtime.command.console import send_descriptor


def send_listener(spec: oci.Spec, state: oci.State, pid: int, fd: int) -> None:
    """Give the listener ``fd`` of the process ``pid`` to the socket that the spec names.

    ``state`` is the container's. Raises InvalidArgument without such a socket,
    FailedPrecondition.
    """
    seccomp = spec.linux.seccomp
    if seccomp is None or not seccomp.listener_path:
        raise InvalidArgument("seccomp listenerPath is needed with SCMP_ACT_NOTIFY")
    document = {
        "ociVersion": spec.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": seccomp.listener_metadata,
        "state": msgspec.to_builtins(state),
    }
    send_descriptor("seccomp listener", seccomp.listener_path, msgspec.json.encode(document), fd)
