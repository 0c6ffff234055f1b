"""What a client asks for at create: checked, before anything is done about it.

``validate`` says what is wrong with a request, in dockerd's words where dockerd has some, or
takes out what this host cannot do and warns. ``fill_defaults`` then writes down what docker
fills in, so that ``inspect`` shows it and nobody later has to know a default.

Source: the Engine API's ContainerConfig and HostConfig; dockerd's verifyContainerSettings.
"""

from __future__ import annotations

import socket

from barque.engine.defaults import ContainerDefaults
from barque.engine.devices import find_device_number, find_devices, parse_device_rule
from barque.engine.facts import READONLY_PATHS, HostFacts
from barque.engine.limits import check_limits
from barque.engine.logconfig import parse_log_config
from barque.engine.mounts import check_mounts, clean_path
from barque.engine.seccomp import check_profile
from barque.engine.security import BUILTIN, UNCONFINED, parse_security_options
from barque.engine.signals import parse_signal
from barque.engine.systemd import check_systemd
from barque.engine.userns import check_mode
from barque.errors import InvalidArgument, NotImplementedHere
from barque.models.api import ContainerConfig, HostConfig, RestartPolicy
from barque.models.image import Healthcheck
from barque.runtime import capabilities

_MAX_HOSTNAME_BYTES = 64  # HOST_NAME_MAX of linux/limits.h
_MIN_PROBE_NS = 1_000_000
_RESTART_POLICIES = frozenset({"", "no", "always", "on-failure", "unless-stopped"})
_ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending "
    "stack".split()
)
_IPC_SYSCTLS = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax "
    "kernel.shmmni kernel.shm_rmid_forced".split()
)


def validate(config: ContainerConfig, host: HostConfig, facts: HostFacts) -> list[str]:
    """Check a create request; return the warnings for its answer.

    Changes ``host`` where this kernel cannot do what was asked, and ``config.working_dir`` to
    its clean form. Raises InvalidArgument with docker's text for what can never be, and
    NotImplementedHere for what docker can and barque cannot. To be called before
    ``fill_defaults``.
    """
    warnings: list[str] = []
    _check_config(config)
    _check_restart(host)
    _check_modes(config, host)
    warnings += check_limits(host, facts)
    _check_sizes(host)
    warnings += _check_capabilities(host, facts)
    _check_security(host, facts)
    _check_sysctls(host)
    warnings += _check_ulimits(host, facts)
    warnings += _check_devices(host)
    check_mounts(host)
    parse_log_config(host.log_config)
    if host.network_mode == "host" and host.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    return warnings


def _check_config(config: ContainerConfig) -> None:
    if len(config.hostname.encode()) > _MAX_HOSTNAME_BYTES:
        raise InvalidArgument(
            f'hostname "{config.hostname}" is too long (maximum {_MAX_HOSTNAME_BYTES} bytes)'
        )
    if config.working_dir:
        if not config.working_dir.startswith("/"):
            raise InvalidArgument(
                f"the working directory '{config.working_dir}' is invalid, it needs to be an "
                f"absolute path"
            )
        config.working_dir = clean_path(config.working_dir)
    if config.stop_signal:
        parse_signal(config.stop_signal)
    for variable in config.env or ():
        if not variable or variable.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {variable}")
        if "\0" in variable:
            raise InvalidArgument(
                "invalid environment variable: "
                f"{variable.partition('=')[0]!r} contains a NUL character"
            )
    if config.healthcheck:
        _check_healthcheck(config.healthcheck)


def _check_healthcheck(check: Healthcheck) -> None:
    for name, value in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if value and value < _MIN_PROBE_NS:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def _check_restart(host: HostConfig) -> None:
    if host.auto_remove and host.restart_policy.name not in {"", "no"}:
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    check_restart_policy(host.restart_policy)


def check_restart_policy(policy: RestartPolicy) -> None:
    """Raises InvalidArgument for a policy that is none."""
    name, count = policy.name, policy.maximum_retry_count
    if name not in _RESTART_POLICIES:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', "
            f"'on-failure', or 'unless-stopped'"
        )
    if name == "on-failure":
        if count < 0:
            raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    elif count:
        negative = " and cannot be negative" if count < 0 else ""
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with "
            f"'on-failure'{negative}"
        )


def _is_container(mode: str) -> bool:
    return mode.startswith("container:")


def _check_modes(config: ContainerConfig, host: HostConfig) -> None:
    if host.ipc_mode not in {"", "none", "private", "host", "shareable"} and not (
        _is_container(host.ipc_mode) and host.ipc_mode != "container:"
    ):
        raise InvalidArgument(f"invalid IPC mode: {host.ipc_mode}")
    if host.pid_mode not in {"", "host"} and not (
        _is_container(host.pid_mode) and host.pid_mode != "container:"
    ):
        raise InvalidArgument(f"invalid PID mode: {host.pid_mode}")
    if host.uts_mode not in {"", "host"}:
        raise InvalidArgument(f"invalid UTS mode: {host.uts_mode}")
    if host.cgroupns_mode not in {"", "private", "host"}:
        raise InvalidArgument(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    check_mode(host.userns_mode)
    if host.isolation.lower() not in {"", "default"}:
        raise InvalidArgument(f"invalid isolation '{host.isolation}' on linux")
    if host.device_requests:
        request = host.device_requests[0]
        wanted = " ".join(f"[{' '.join(group)}]" for group in request.get("Capabilities") or ())
        raise InvalidArgument(
            f'could not select device driver "{request.get("Driver") or ""}" with '
            f"capabilities: [{wanted}]"
        )
    if host.storage_opt:
        raise NotImplementedHere(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, and "
            "not implemented by barque: drop it, or limit what is written by a volume's file system"
        )
    if host.uts_mode == "host" and config.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    _check_network_mode(config, host)


def _check_network_mode(config: ContainerConfig, host: HostConfig) -> None:
    mode = host.network_mode
    if mode == "host" and host.links:
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links. This would "
            "result in undefined behavior"
        )
    for entry in host.extra_hosts or ():
        _check_extra_host(entry)
    if mode != "container" and not _is_container(mode):
        return
    if mode in {"container", "container:"}:
        raise InvalidArgument("invalid network mode: invalid container format container:<name|id>")
    for given, what in (
        (config.hostname, "hostname and the network mode"),
        (
            host.links,
            (
                "container type network can't be used with links. This would result in "
                "undefined behavior"
            ),
        ),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (
            host.port_bindings or host.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (config.exposed_ports, "port exposing and the container type network mode"),
    ):
        if given:
            raise InvalidArgument(f"conflicting options: {what}")


def _check_extra_host(entry: str) -> None:
    """``name:address`` or ``name=address``; an IPv6 address may stand in brackets.

    A name with white space in it would be more than one name, or line, of the hosts file.
    """
    name, found, address = entry.partition("=")
    if not found or ":" in name:
        name, found, address = entry.partition(":")
    if not found or not name or not name.isprintable() or " " in name:
        raise InvalidArgument(f'bad format for add-host: "{entry}"')
    if address == "host-gateway":
        return
    plain = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in plain else socket.AF_INET, plain)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from error


def _check_sizes(host: HostConfig) -> None:
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    if "" in (host.annotations or {}):
        raise InvalidArgument(
            "invalid Annotations: the empty string is not permitted as an annotation key"
        )


def _check_capabilities(host: HostConfig, facts: HostFacts) -> list[str]:
    try:
        added = capabilities.parse_names(host.cap_add or ())
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid CapAdd: {error}") from error
    try:
        capabilities.parse_names(host.cap_drop or ())
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid CapDrop: {error}") from error
    return [
        f"Capability {name} is not available to the engine itself on this machine. "
        f"The container runs without it."
        for name in added
        if name != capabilities.ALL and name not in facts.capabilities
    ]


def _check_security(host: HostConfig, facts: HostFacts) -> None:
    options = parse_security_options(host.security_opt)
    if options.apparmor not in {"", UNCONFINED} and not facts.apparmor:
        raise InvalidArgument(
            f'AppArmor profile "{options.apparmor}" was asked for, but AppArmor is not '
            f"enabled on this host: drop --security-opt apparmor={options.apparmor}"
        )
    for label in options.labels:
        if label == "disable":
            continue
        if not facts.selinux:
            raise InvalidArgument(
                f'SELinux option "{label}" was asked for, but SELinux is not enabled on this '
                f"host: drop --security-opt label={label}"
            )
        raise NotImplementedHere(
            f'SELinux option "{label}": barque does not apply SELinux labels yet; use '
            f"--security-opt label=disable"
        )
    check_systemd(host, facts)
    if options.seccomp not in {"", UNCONFINED, BUILTIN}:
        check_profile(options.seccomp, facts)


def normal_sysctl(name: str) -> str:
    """Write a sysctl with dots between its parts: ``net/ipv4/ip_forward`` becomes dotted.

    As in sysctl(8), the first separator decides; in the slashed form dots belong to names,
    and come out as slashes.
    """
    for character in name:
        if character == ".":
            break
        if character == "/":
            return name.translate(str.maketrans("./", "/."))
    return name


def _check_sysctls(host: HostConfig) -> None:
    """Let through only what is the container's own: anything else would change the host."""
    for given in host.sysctls or {}:
        name = normal_sysctl(given)
        if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
            if host.ipc_mode == "host":
                raise InvalidArgument(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
        elif name.startswith("net."):
            if host.network_mode == "host":
                raise InvalidArgument(f'sysctl "{name}" not allowed in host network namespace')
        elif name == "kernel.domainname":
            if host.uts_mode == "host":
                raise InvalidArgument(f'sysctl "{name}" is not allowed in the hosts UTS namespace')
        elif name == "kernel.hostname":
            raise InvalidArgument(
                f'sysctl "{name}" is not allowed as it conflicts with the OCI "hostname" field'
            )
        else:
            raise InvalidArgument(f'sysctl "{name}" is not in a separate kernel namespace')


def _check_ulimits(host: HostConfig, facts: HostFacts) -> list[str]:
    warnings = []
    for limit in host.ulimits or ():
        if limit.name not in _ULIMITS:
            raise InvalidArgument(f"invalid ulimit type: {limit.name}")
        if limit.soft < -1 or limit.hard < -1:
            raise InvalidArgument(
                f"ulimit {limit.name}: {min(limit.soft, limit.hard)} is not a limit; -1 is "
                f"unlimited"
            )
        if limit.name == "nofile" and not 0 <= limit.hard <= facts.max_open_files:
            warnings.append(
                f"ulimit nofile: the engine can give {facts.max_open_files} on this machine, and "
                f"gives that instead of {limit.hard}"
            )
        if limit.hard == -1:
            continue
        if limit.soft == -1:
            raise InvalidArgument(
                "ulimit soft limit must be less than or equal to hard limit: soft: -1 "
                f"(unlimited), hard: {limit.hard}"
            )
        if limit.soft > limit.hard:
            raise InvalidArgument(
                "ulimit soft limit must be less than or equal to hard limit: "
                f"{limit.soft} > {limit.hard}"
            )
    return warnings


def _check_devices(host: HostConfig) -> list[str]:
    for rule in host.device_cgroup_rules or ():
        parse_device_rule(rule)
    for limit in (
        *(host.blkio_weight_device or ()),
        *(host.blkio_device_read_bps or ()),
        *(host.blkio_device_write_bps or ()),
        *(host.blkio_device_read_i_ops or ()),
        *(host.blkio_device_write_i_ops or ()),
    ):
        find_device_number(limit.path)
    warnings = []
    for mapping in host.devices or ():
        find_devices(mapping)
        if host.privileged and mapping.cgroup_permissions not in {"", "rwm"}:
            warnings.append(
                f"custom {mapping.cgroup_permissions} permissions for device "
                f"{mapping.path_on_host} are ignored in privileged mode"
            )
    return warnings


def _fill_paths(host: HostConfig, facts: HostFacts) -> None:
    """Write down what is masked and read-only. A list that a client gave stays as it is."""
    options = parse_security_options(host.security_opt)
    usual = () if host.privileged else facts.masked_paths
    if host.masked_paths is None and (options.mask or not host.privileged):
        host.masked_paths = options.masked(usual)
    elif host.masked_paths is not None and options.mask:
        host.masked_paths = list(dict.fromkeys((*host.masked_paths, *options.mask)))
    if host.readonly_paths is None and not host.privileged:
        host.readonly_paths = options.kept(READONLY_PATHS)


def fill_defaults(
    host: HostConfig, facts: HostFacts, defaults: ContainerDefaults | None = None
) -> HostConfig:
    """Write the engine's and docker's defaults into a validated ``host``, and return it."""
    (defaults or ContainerDefaults()).fill(host)
    if host.network_mode in {"", "default"}:
        host.network_mode = "bridge"
    if not host.restart_policy.name:
        host.restart_policy.name = "no"
    if host.memory > 0 and host.memory_swap == 0:
        host.memory_swap = host.memory * 2
    if not host.cgroupns_mode:
        # dockerd's rule for privileged containers; the private namespace is barque's default
        # on version 1 as well, where dockerd shares the host's.
        share = host.privileged and facts.cgroups.version == 1
        host.cgroupns_mode = "host" if share else "private"
    labelled = any(option.startswith("label") for option in host.security_opt or ())
    if not labelled and (host.ipc_mode == "host" or host.pid_mode == "host" or host.privileged):
        host.security_opt = [*(host.security_opt or ()), "label=disable"]
    if host.oom_kill_disable is None:
        host.oom_kill_disable = False
    _fill_paths(host, facts)
    if host.console_size is None:
        host.console_size = [0, 0]
    for mapping in host.devices or ():
        mapping.path_in_container = mapping.path_in_container or mapping.path_on_host
        mapping.cgroup_permissions = mapping.cgroup_permissions or "rwm"
    return host
