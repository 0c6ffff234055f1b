"""What the engine hands to a shim to start a container or an exec.

An OCI spec says what a container is; these say, beside it, what only an engine knows:
where the layers are, which names are to be looked up inside the image, how the container
is wired to the network, where its output goes.
"""

from __future__ import annotations

import msgspec

from barque.models import oci

SHM_OF = "shm"
"""Among the namespaces that are joined: the mount namespace whose /dev/shm is to be shared."""


class RootfsMount(msgspec.Struct, kw_only=True):
    """How to mount a snapshot, as a snapshotter gives it.

    ``type`` is ``overlay`` (``lower`` top layer first; ``upper`` and ``work`` empty for a
    read-only view) or ``bind`` (``source``).
    """

    type: str
    source: str = ""
    lower: list[str] = []
    upper: str = ""
    work: str = ""
    readonly: bool = False
    volatile: bool = False
    """The layer dies with the container: the kernel need not sync it when it is unmounted."""
    mapped: bool = False
    """The owners on the disk are the container's: its user namespace is to see them as its own."""


class Interface(msgspec.Struct, kw_only=True):
    """An interface of a container.

    With a ``bridge`` a veth pair: ``name`` inside, ``host_name`` outside as a port of it. With a
    ``parent``, an interface of the host, one of ``kind`` upon that: ``macvlan`` or ``ipvlan``.

    ``addresses`` in CIDR form; ``gateway`` is the IPv4 default route or empty; 0.0.0.0 and ::
    route everything out by the interface itself.
    """

    name: str
    host_name: str
    bridge: str
    mac: str
    addresses: list[str]
    kind: str = "veth"
    parent: str = ""
    mode: str = ""
    flag: str = ""
    gateway: str = ""
    gateway6: str = ""
    mtu: int = 1500
    gso_in_bytes: int = 0
    gso_out_bytes: int = 0
    """How much of a TCP connection comes in, and goes out, as one packet (GSO); 0 is 64 KiB."""
    isolated: bool = False
    """The bridge passes nothing between this port and other isolated ones."""
    reflected: bool = False
    """The bridge sends back what is meant for where it came from: a container that reaches
    itself by a published port, where bridged packets pass the firewall (br_netfilter)."""
    sysctls: list[tuple[str, str]] = []
    """Settings of the interface, below /proc/sys/net, with ``IFNAME`` for its name:
    ``ipv4/conf/IFNAME/log_martians``."""


class UserNames(msgspec.Struct, kw_only=True):
    """Names to be resolved against the image's /etc/passwd and /etc/group.

    ``user`` is docker's ``name|uid[:group|gid]`` ("" is root); ``groups`` are added.
    """

    user: str = ""
    groups: list[str] = []


class CopyUp(msgspec.Struct, kw_only=True):
    """Fill the empty directory ``target`` (host path) from ``source`` in the image."""

    source: str
    target: str


class ExternalRuntime(msgspec.Struct, frozen=True, kw_only=True):
    """An OCI runtime with runc's command line: its program (absolute), arguments before all."""

    path: str
    args: list[str] = []


class ContainerLaunch(msgspec.Struct, kw_only=True):
    """Everything the container's init needs, in one document."""

    spec: oci.Spec
    rootfs: RootfsMount
    names: UserNames | None = None
    """Looked up in the image; None takes the spec's numbers."""
    interfaces: list[Interface] = []
    seccomp_path: str = ""
    """Compiled filter (raw struct sock_filter array) on the host; "" runs unfiltered."""
    joins: dict[str, int] = {}
    """Namespaces to join: OCI type to index in the descriptors that came along."""
    copy_ups: list[CopyUp] = []
    init: bool = False
    """Stay as PID 1: forward signals, reap, leave with the program's status."""
    create_cwd: bool = True
    host_devices: bool = False
    """Privileged: give all of the host's devices."""
    runtime: ExternalRuntime | None = None
    """Who makes the container in barque's stead. Its seccomp profile is in the spec then."""


class ExecLaunch(msgspec.Struct, kw_only=True):
    """Everything an exec'ed process needs."""

    process: oci.Process
    names: UserNames | None = None
    """Looked up in the image; None takes the spec's numbers."""
    seccomp_path: str = ""
    seccomp: oci.Seccomp | None = None
    """A profile to be compiled, in place of the file."""
    cgroups_path: str = ""
    namespaces: list[str] = []
    """Of the container's, those beside the usual ones: ``user``, ``time``."""
    personality: oci.Personality | None = None
    memory_policy: oci.MemoryPolicy | None = None
    """Both as the container has them."""


class LogTarget(msgspec.Struct, kw_only=True):
    """A json-file log. ``max_size_bytes`` 0 is unlimited; ``max_files`` counts the live one."""

    path: str
    max_size_bytes: int = 0
    max_files: int = 1
    compress: bool = False
    attrs: dict[str, str] = {}


class ExitRecord(msgspec.Struct, kw_only=True):
    """How a container ended. ``exited_at`` is RFC 3339 with nanoseconds, UTC."""

    code: int
    exited_at: str
    oom_killed: bool = False
