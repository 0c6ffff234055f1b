"""OCI runtime-spec 1.2 ``config.json``, Linux part, as typed values.

Source: opencontainers/runtime-spec config.md and config-linux.md. Unknown properties are
ignored on decoding, as the specification demands.
"""

from __future__ import annotations

import msgspec


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base: camelCase on the wire, defaults left out."""


class IdMapping(_Spec):
    """A range of ids: ``size`` ids from ``container_id`` are ``host_id`` and up outside."""

    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


class Mount(_Spec):
    """A mount, made in listed order. ``options`` are mount(8)'s words."""

    destination: str
    type: str = ""
    source: str = ""
    options: list[str] = []
    uid_mappings: list[IdMapping] = []
    gid_mappings: list[IdMapping] = []


class User(_Spec):
    """Numeric identity of the process."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: list[int] = []


class Box(_Spec):
    """A terminal size in characters."""

    height: int = 0
    width: int = 0


class Capabilities(_Spec):
    """The five sets, as ``CAP_*`` names."""

    bounding: list[str] = []
    effective: list[str] = []
    inheritable: list[str] = []
    permitted: list[str] = []
    ambient: list[str] = []


class Rlimit(_Spec):
    """A resource limit; 2**64-1 is infinity."""

    type: str
    soft: int
    hard: int


class IoPriority(_Spec):
    """I/O priority: ``class_`` is IOPRIO_CLASS_RT, _BE or _IDLE; ``priority`` 0 to 7."""

    class_: str = msgspec.field(name="class")
    priority: int = 0


class Scheduler(_Spec):
    """CPU scheduling. ``runtime``, ``deadline``, ``period`` in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: list[str] = []
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class ExecCpuAffinity(_Spec):
    """CPU lists (``0-3,7``) of an exec'ed process: before and after it joins the cgroup."""

    initial: str = ""
    final: str = ""


class Process(_Spec):
    """What runs, and as whom."""

    terminal: bool = False
    console_size: Box | None = None
    user: User = msgspec.field(default_factory=User)
    args: list[str] = []
    env: list[str] = []
    cwd: str = "/"
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] = []
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""
    io_priority: IoPriority | None = None
    scheduler: Scheduler | None = None
    exec_cpu_affinity: ExecCpuAffinity | None = msgspec.field(default=None, name="execCPUAffinity")


class Root(_Spec):
    """The root file system."""

    path: str = ""
    readonly: bool = False


class Namespace(_Spec):
    """A namespace to make, or, with ``path``, to join.

    ``type``: pid, network, mount, ipc, uts, user, cgroup or time.
    """

    type: str
    path: str = ""


class TimeOffset(_Spec):
    """What is added to a clock."""

    secs: int = 0
    nanosecs: int = 0


class NetDevice(_Spec):
    """The name that a network device of the host gets inside; "" keeps its own."""

    name: str = ""


class Personality(_Spec):
    """Execution domain: ``LINUX`` or ``LINUX32``."""

    domain: str
    flags: list[str] = []


class MemoryPolicy(_Spec):
    """NUMA memory policy: MPOL_* mode, node list, MPOL_F_* flags."""

    mode: str
    nodes: str = ""
    flags: list[str] = []


class IntelRdt(_Spec):
    """Shares of caches and memory bandwidth, in the words of the kernel's resctrl files.

    "" as ``clos_id`` is a class of service of the container's own.
    """

    clos_id: str = msgspec.field(default="", name="closID")
    schemata: list[str] = []
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class Hook(_Spec):
    """A program of the host that is run at a point of the life cycle. ``timeout`` in seconds."""

    path: str
    args: list[str] = []
    env: list[str] = []
    timeout: int | None = None


class Hooks(_Spec):
    """Hooks by phase. Source: runtime-spec config.md "POSIX-platform Hooks"."""

    prestart: list[Hook] = []
    create_runtime: list[Hook] = []
    create_container: list[Hook] = []
    start_container: list[Hook] = []
    poststart: list[Hook] = []
    poststop: list[Hook] = []


class Device(_Spec):
    """A device node: ``type`` is c, b, u or p; ``file_mode`` is an int of the octal mode."""

    type: str
    path: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceRule(_Spec):
    """A device cgroup rule, applied in order. None is any number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


class Memory(_Spec):
    """Memory limits in bytes; -1 is unlimited; ``swap`` is memory plus swap.

    Kernel memory has no limit of its own any more in any kernel: ``kernel`` and ``kernelTCP``
    are unknown properties here.
    """

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = msgspec.field(default=None, name="disableOOMKiller")
    check_before_update: bool = False
    """Refuse a limit below what is in use, where the kernel would kill instead."""


class Cpu(_Spec):
    """CPU limits; times in microseconds. ``idle`` 1 runs only when nobody else wants to."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(_Spec):
    """Most processes and threads; -1 is unlimited."""

    limit: int


class WeightDevice(_Spec):
    """Block I/O weight of one device."""

    major: int
    minor: int
    weight: int | None = None


class ThrottleDevice(_Spec):
    """Block I/O rate of one device: bytes or operations a second."""

    major: int
    minor: int
    rate: int


class BlockIO(_Spec):
    """Block I/O limits."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: list[WeightDevice] = []
    throttle_read_bps_device: list[ThrottleDevice] = []
    throttle_write_bps_device: list[ThrottleDevice] = []
    throttle_read_iops_device: list[ThrottleDevice] = msgspec.field(
        default_factory=list, name="throttleReadIOPSDevice"
    )
    throttle_write_iops_device: list[ThrottleDevice] = msgspec.field(
        default_factory=list, name="throttleWriteIOPSDevice"
    )


class HugepageLimit(_Spec):
    """Most bytes of huge pages of one size, such as ``2MB``."""

    page_size: str
    limit: int


class InterfacePriority(_Spec):
    """Priority of the traffic that leaves by one of the host's interfaces."""

    name: str
    priority: int


class Network(_Spec):
    """Marks on the traffic (version 1 only)."""

    class_id: int | None = msgspec.field(default=None, name="classID")
    priorities: list[InterfacePriority] = []


class Rdma(_Spec):
    """Most handles and objects of one RDMA device."""

    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(_Spec):
    """The cgroup's limits. ``unified`` is version 2's own: values by file, written as given."""

    devices: list[DeviceRule] = []
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = msgspec.field(default=None, name="blockIO")
    hugepage_limits: list[HugepageLimit] = []
    network: Network | None = None
    rdma: dict[str, Rdma] = {}
    unified: dict[str, str] = {}


class SeccompArg(_Spec):
    """A condition on one argument. ``op`` is a SCMP_CMP_* name."""

    index: int
    value: int
    value_two: int = 0
    op: str = "SCMP_CMP_EQ"


class Syscall(_Spec):
    """A rule for some system calls. ``action`` is a SCMP_ACT_* name."""

    names: list[str]
    action: str
    errno_ret: int | None = None
    args: list[SeccompArg] = []


class Seccomp(_Spec):
    """A system call filter."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] = []
    flags: list[str] = []
    syscalls: list[Syscall] = []
    listener_path: str = ""
    listener_metadata: str = ""


class Linux(_Spec):
    """What only Linux has."""

    namespaces: list[Namespace] = []
    uid_mappings: list[IdMapping] = []
    gid_mappings: list[IdMapping] = []
    devices: list[Device] = []
    cgroups_path: str = ""
    resources: Resources | None = None
    rootfs_propagation: str = ""
    seccomp: Seccomp | None = None
    sysctl: dict[str, str] = {}
    masked_paths: list[str] = []
    readonly_paths: list[str] = []
    mount_label: str = ""
    time_offsets: dict[str, TimeOffset] = {}
    """By clock: ``monotonic`` and ``boottime``."""
    net_devices: dict[str, NetDevice] = {}
    personality: Personality | None = None
    memory_policy: MemoryPolicy | None = None
    intel_rdt: IntelRdt | None = None


class State(_Spec, omit_defaults=False, kw_only=True):
    """The container state that hooks read and ``state`` prints. ``pid`` 0: not there."""

    oci_version: str
    id: str
    status: str
    pid: int = 0
    bundle: str
    annotations: dict[str, str] = {}


class Spec(_Spec):
    """A whole ``config.json``."""

    oci_version: str = "1.2.0"
    root: Root = msgspec.field(default_factory=Root)
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: list[Mount] = []
    hooks: Hooks | None = None
    linux: Linux = msgspec.field(default_factory=Linux)
    annotations: dict[str, str] = {}
