"""The options that describe a container: those of ``create``, and of ``run`` with its own.

What they become is in :mod:`barque.cli.container_body`. Source: cli.md section 5.
"""

from __future__ import annotations

import os

from barque.cli.command import Flag
from barque.errors import InvalidArgument

_STREAMS = ("stdin", "stdout", "stderr")


def check_env(text: str) -> str:
    """``K=V`` as it is; ``K`` with the value that it has here, if it has one."""
    name, equals, _ = text.partition("=")
    if not name:
        raise InvalidArgument(f"invalid environment variable: {text}")
    if not equals and name in os.environ:
        return f"{name}={os.environ[name]}"
    return text


def _check_attach(text: str) -> str:
    stream = text.lower()
    if stream not in _STREAMS:
        raise InvalidArgument("valid streams are STDIN, STDOUT and STDERR")
    return stream


def _check_label(text: str) -> str:
    if not text.partition("=")[0].strip():
        raise InvalidArgument(f"invalid label '{text}': empty name")
    return text


def _check_link(text: str) -> str:
    if not text:
        raise InvalidArgument("empty string specified for links")
    if text.count(":") > 1 and not text.startswith("/"):
        raise InvalidArgument(f"bad format for links: {text}")
    return text


def _check_address(text: str) -> str:
    from barque.cli.rare_values import check_address  # noqa: PLC0415 - rare

    return check_address(text)


def _check_host(text: str) -> str:
    """``name:address`` or ``name=address``; sent with a colon. ``host-gateway`` is special."""
    from barque.cli.rare_values import is_address  # noqa: PLC0415 - rare

    name, equals, address = text.partition("=")
    if not equals:
        name, separator, address = text.partition(":")
        if not separator:
            raise InvalidArgument(f'bad format for add-host: "{text}"')
    if not name or not address:
        raise InvalidArgument(f'bad format for add-host: "{text}"')
    if address != "host-gateway":
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        if not is_address(address):
            raise InvalidArgument(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def _check_dns_search(text: str) -> str:
    name = text.strip(" ")
    if name == ".":
        return name
    labels = name.removesuffix(".").split(".")
    legal = all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels)
    if not legal or not name.isascii() or len(name) > 255:
        raise InvalidArgument(f"invalid domain: {name}")
    return name


def _check_device_rule(text: str) -> str:
    parts = text.split(" ")
    numbers = parts[1].split(":") if len(parts) == 3 else []
    if not (
        len(numbers) == 2
        and parts[0] in ("a", "b", "c")
        and all(number == "*" or number.isdigit() for number in numbers)
        and 0 < len(parts[2]) <= 3
        and not set(parts[2]) - set("rwm")
    ):
        raise InvalidArgument(f"invalid device cgroup format '{text}'")
    return text


def _check_weight_device(text: str) -> dict[str, object]:
    path, separator, value = text.partition(":")
    if not separator:
        raise InvalidArgument(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise InvalidArgument(f"bad format for device path: {text}")
    if not value.isdigit() or (int(value) != 0 and not 10 <= int(value) <= 1000):
        raise InvalidArgument(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(value)}


def _check_rate_bytes(text: str) -> dict[str, object]:
    path, separator, value = text.partition(":")
    problem = (
        f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. "
        "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
    )
    _check_device_path(path, separator, text)
    from barque.cli.values import parse_bytes  # noqa: PLC0415 - rare

    try:
        rate = parse_bytes(value)
    except InvalidArgument:
        raise InvalidArgument(problem) from None
    return {"Path": path, "Rate": rate}


def _check_rate_operations(text: str) -> dict[str, object]:
    path, separator, value = text.partition(":")
    _check_device_path(path, separator, text)
    if not value.isdigit():
        raise InvalidArgument(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(value)}


def _check_device_path(path: str, separator: str, text: str) -> None:
    if not separator:
        raise InvalidArgument(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise InvalidArgument(f"bad format for device path: {text}")


def _check_sysctls(found: dict[str, str]) -> dict[str, str]:
    """Names that a container may have at all; which of them, the engine knows."""
    exact = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall")
    more = ("kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced")
    for name in found:
        if name not in exact and name not in more and not name.startswith(("net.", "fs.mqueue.")):
            raise InvalidArgument(f"sysctl '{name}' is not allowed")
    return found


def _platform() -> str:
    return os.environ.get("DOCKER_DEFAULT_PLATFORM", "")


RESOURCE_FLAGS = (
    Flag(
        "blkio-weight",
        "uint16",
        "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
    ),
    Flag("cpu-period", "int64", "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag("cpu-quota", "int64", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag("cpu-rt-period", "int64", "Limit CPU real-time period in microseconds"),
    Flag("cpu-rt-runtime", "int64", "Limit CPU real-time runtime in microseconds"),
    Flag("cpu-shares", "int64", "CPU shares (relative weight)", short="c"),
    Flag("cpus", "decimal", "Number of CPUs"),
    Flag("cpuset-cpus", "string", "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("cpuset-mems", "string", "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("memory", "bytes", "Memory limit", short="m"),
    Flag("memory-reservation", "bytes", "Memory soft limit"),
    Flag(
        "memory-swap",
        "memory-swap",
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
    ),
    Flag("pids-limit", "int64", "Tune container pids limit (set -1 for unlimited)"),
    Flag("kernel-memory", "bytes", "Kernel memory limit (ignored)", hidden=True),
)
"""The limits, which ``update`` takes as well."""

_OWN_FLAGS = (
    Flag("add-host", "list", "Add a custom host-to-IP mapping (host:ip)", check=_check_host),
    Flag(
        "annotation",
        "map",
        "Add an annotation to the container (passed through to the OCI runtime)",
    ),
    Flag("attach", "list", "Attach to STDIN, STDOUT or STDERR", short="a", check=_check_attach),
    Flag(
        "blkio-weight-device",
        "list",
        "Block IO weight (relative device weight)",
        check=_check_weight_device,
    ),
    Flag("cap-add", "list", "Add Linux capabilities"),
    Flag("cap-drop", "list", "Drop Linux capabilities"),
    Flag("cgroup-parent", "string", "Optional parent cgroup for the container"),
    Flag(
        "cgroupns",
        "string",
        "Cgroup namespace to use (host|private)\n"
        "'host':    the engine host's cgroup namespace\n"
        "'private': a cgroup namespace of the container's own\n"
        "'':        as the engine is configured (default)",
    ),
    Flag("cidfile", "string", "Write the container ID to the file"),
    Flag("cpu-count", "int64", "CPU count (Windows only)", hidden=True),
    Flag("cpu-percent", "int64", "CPU percent (Windows only)", hidden=True),
    Flag("device", "list", "Add a host device to the container"),
    Flag(
        "device-cgroup-rule",
        "list",
        "Add a rule to the cgroup allowed devices list",
        check=_check_device_rule,
    ),
    Flag(
        "device-read-bps",
        "list",
        "Limit read rate (bytes per second) from a device",
        check=_check_rate_bytes,
    ),
    Flag(
        "device-read-iops",
        "list",
        "Limit read rate (IO per second) from a device",
        check=_check_rate_operations,
    ),
    Flag(
        "device-write-bps",
        "list",
        "Limit write rate (bytes per second) to a device",
        check=_check_rate_bytes,
    ),
    Flag(
        "device-write-iops",
        "list",
        "Limit write rate (IO per second) to a device",
        check=_check_rate_operations,
    ),
    Flag("disable-content-trust", "bool", "Skip image verification", default=True),
    Flag("dns", "list", "Set custom DNS servers", check=_check_address),
    Flag("dns-option", "list", "Set DNS options"),
    Flag("dns-opt", "list", "Set DNS options", target="dns-option", hidden=True),
    Flag("dns-search", "list", "Set custom DNS search domains", check=_check_dns_search),
    Flag("domainname", "string", "Container NIS domain name"),
    Flag("entrypoint", "string", "Overwrite the default ENTRYPOINT of the image"),
    Flag("env", "list", "Set environment variables", short="e", check=check_env),
    Flag("env-file", "list", "Read in a file of environment variables"),
    Flag("expose", "list", "Expose a port or a range of ports"),
    Flag("gidmap", "list", "Map groups of a user namespace: inside:host[:size]"),
    Flag("gpus", "gpus", "GPU devices to add to the container ('all' to pass all GPUs)"),
    Flag("group-add", "list", "Add additional groups to join"),
    Flag("health-cmd", "string", "Command to run to check health"),
    Flag("health-interval", "duration", "Time between running the check (ms|s|m|h) (default 0s)"),
    Flag("health-retries", "int", "Consecutive failures needed to report unhealthy"),
    Flag(
        "health-start-interval",
        "duration",
        "Time between running the check during the start period (ms|s|m|h) (default 0s)",
    ),
    Flag(
        "health-start-period",
        "duration",
        "Start period for the container to initialize before starting health-retries countdown "
        "(ms|s|m|h) (default 0s)",
    ),
    Flag(
        "health-timeout",
        "duration",
        "Maximum time to allow one check to run (ms|s|m|h) (default 0s)",
    ),
    Flag("hostname", "string", "Container host name", short="h"),
    Flag(
        "init",
        "bool",
        "Run an init inside the container that forwards signals and reaps processes",
    ),
    Flag("interactive", "bool", "Keep STDIN open even if not attached", short="i"),
    Flag(
        "io-maxbandwidth",
        "bytes",
        "Maximum IO bandwidth limit for the system drive (Windows only)",
        hidden=True,
    ),
    Flag(
        "io-maxiops",
        "uint64",
        "Maximum IOps limit for the system drive (Windows only)",
        hidden=True,
    ),
    Flag("ip", "string", "IPv4 address (e.g., 172.30.100.104)"),
    Flag("ip6", "string", "IPv6 address (e.g., 2001:db8::33)"),
    Flag("ipc", "string", "IPC mode to use"),
    Flag("isolation", "string", "Container isolation technology"),
    Flag("label", "list", "Set meta data on a container", short="l", check=_check_label),
    Flag("label-file", "list", "Read in a line delimited file of labels"),
    Flag("link", "list", "Add link to another container", check=_check_link),
    Flag("link-local-ip", "list", "Container IPv4/IPv6 link-local addresses"),
    Flag("log-driver", "string", "Logging driver for the container"),
    Flag("log-opt", "list", "Log driver options"),
    Flag("mac-address", "string", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag(
        "memory-swappiness",
        "int64",
        "Tune container memory swappiness (0 to 100)",
        default=-1,
    ),
    Flag("mount", "mount", "Attach a filesystem mount to the container"),
    Flag("name", "string", "Assign a name to the container"),
    Flag("net", "network", "Connect a container to a network", target="network", hidden=True),
    Flag(
        "net-alias",
        "list",
        "Add network-scoped alias for the container",
        target="network-alias",
        hidden=True,
    ),
    Flag("network", "network", "Connect a container to a network"),
    Flag("network-alias", "list", "Add network-scoped alias for the container"),
    Flag("no-healthcheck", "bool", "Disable any container-specified HEALTHCHECK"),
    Flag("oom-kill-disable", "bool", "Disable OOM Killer"),
    Flag("oom-score-adj", "int", "Tune host's OOM preferences (-1000 to 1000)"),
    Flag("pid", "string", "PID namespace to use"),
    Flag(
        "platform",
        "string",
        "Set platform if server is multi-platform capable",
        default=_platform(),
    ),
    Flag("privileged", "bool", "Give extended privileges to this container"),
    Flag("publish", "list", "Publish a container's port(s) to the host", short="p"),
    Flag("publish-all", "bool", "Publish all exposed ports to random ports", short="P"),
    Flag("quiet", "bool", "Suppress the pull output", short="q"),
    Flag("read-only", "bool", "Mount the container's root filesystem as read only"),
    Flag("restart", "string", "Restart policy to apply when a container exits", default="no"),
    Flag(
        "rm",
        "bool",
        "Automatically remove the container and its associated anonymous volumes when it exits",
    ),
    Flag("runtime", "string", "Runtime to use for this container"),
    Flag("security-opt", "list", "Security Options"),
    Flag("shm-size", "bytes", "Size of /dev/shm"),
    Flag("stop-signal", "string", "Signal to stop the container"),
    Flag("stop-timeout", "int", "Timeout (in seconds) to stop a container"),
    Flag("storage-opt", "list", "Storage driver options for the container"),
    Flag("sysctl", "map", "Sysctl options", check=_check_sysctls),
    Flag("tmpfs", "list", "Mount a tmpfs directory"),
    Flag("tty", "bool", "Allocate a pseudo-TTY", short="t"),
    Flag("uidmap", "list", "Map users of a user namespace: inside:host[:size]"),
    Flag("ulimit", "ulimit", "Ulimit options"),
    Flag("use-api-socket", "bool", "Bind mount the API socket and required auth"),
    Flag("user", "string", "Username or UID (format: <name|uid>[:<group|gid>])", short="u"),
    Flag("userns", "string", "User namespace to use"),
    Flag("uts", "string", "UTS namespace to use"),
    Flag("volume", "list", "Bind mount a volume", short="v"),
    Flag("volume-driver", "string", "Optional volume driver for the container"),
    Flag("volumes-from", "list", "Mount volumes from the specified container(s)"),
    Flag("workdir", "string", "Working directory inside the container", short="w"),
)

_ONLY_RUN = (
    Flag("detach", "bool", "Run container in background and print container ID", short="d"),
    Flag("detach-keys", "string", "Override the key sequence for detaching a container"),
    Flag("sig-proxy", "bool", "Proxy received signals to the process", default=True),
)


def _pull_flag(doing: str) -> Flag:
    return Flag(
        "pull",
        "string",
        f'Pull image before {doing} ("always", "missing", "never")',
        default="missing",
    )


CREATE_FLAGS = (*_OWN_FLAGS, *RESOURCE_FLAGS, _pull_flag("creating"))
RUN_FLAGS = (*_OWN_FLAGS, *RESOURCE_FLAGS, *_ONLY_RUN, _pull_flag("running"))
