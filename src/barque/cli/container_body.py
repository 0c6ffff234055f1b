"""From the options of ``run`` and ``create`` to the body of ContainerCreate.

Every field that docker's own command line sends is sent, with the same zero values, so that
any engine that serves one serves the other. Source: cli.md section 3, engine-api.md
section 5; the contract test compares the bodies with docker's.
"""

from __future__ import annotations

import os

from barque.cli.command import CommandError
from barque.cli.keyvalues import read_env, read_labels, to_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque.cli.command import Flags

_FAILURE = 125


def _refuse(message: str) -> CommandError:
    return CommandError(message, _FAILURE)


def build_body(
    flags: Flags, args: list[str], proxies: dict[str, str], console: tuple[int, int]
) -> dict[str, Any]:
    """The body for image and command ``args``.

    ``proxies`` are variables for containers from the configuration; ``console`` is the
    terminal's height and width. Raises :class:`CommandError` (125) for options that
    contradict each other or have impossible values, with docker's texts.
    """
    attach = flags["attach"]
    attach_stdin = flags["interactive"] or "stdin" in attach
    binds, volumes = _volumes(flags["volume"])
    exposed, bindings = _ports(flags)
    body: dict[str, Any] = {
        "Hostname": flags["hostname"],
        "Domainname": flags["domainname"],
        "User": flags["user"],
        "AttachStdin": attach_stdin,
        "AttachStdout": not attach or "stdout" in attach,
        "AttachStderr": not attach or "stderr" in attach,
    }
    if exposed:
        body["ExposedPorts"] = exposed
    body |= {
        "Tty": flags["tty"],
        "OpenStdin": flags["interactive"],
        "StdinOnce": flags["interactive"] and attach_stdin,
        "Env": read_env(flags["env-file"], _environment(flags["env"], proxies)) or None,
        "Cmd": args[1:] or None,
    }
    if (health := _healthcheck(flags)) is not None:
        body["Healthcheck"] = health
    body |= {
        "Image": args[0],
        "Volumes": volumes,
        "WorkingDir": flags["workdir"],
        "Entrypoint": _entrypoint(flags),
        "OnBuild": None,
        "Labels": read_labels(flags["label-file"], flags["label"]),
    }
    if flags["stop-signal"]:
        body["StopSignal"] = flags["stop-signal"]
    if flags.changed("stop-timeout"):
        body["StopTimeout"] = flags["stop-timeout"]
    body["HostConfig"] = _host_config(flags, binds, bindings, console)
    body["NetworkingConfig"] = {"EndpointsConfig": _endpoints(flags)}
    return body


def _environment(given: list[str], proxies: dict[str, str]) -> list[str]:
    """Each variable once, the last value counts; proxies only where none was given."""
    found: dict[str, str] = {}
    for text in given:
        name = text.partition("=")[0]
        found[name] = text
    for name, value in proxies.items():
        found.setdefault(name, f"{name}={value}")
    return list(found.values())


def _entrypoint(flags: Flags) -> list[str] | None:
    if flags["entrypoint"]:
        return [flags["entrypoint"]]
    return [""] if flags.changed("entrypoint") else None


def _healthcheck(flags: Flags) -> dict[str, Any] | None:
    fields = (
        ("Interval", "health-interval"),
        ("Timeout", "health-timeout"),
        ("StartPeriod", "health-start-period"),
        ("StartInterval", "health-start-interval"),
        ("Retries", "health-retries"),
    )
    wanted = flags["health-cmd"] or any(flags[name] for _, name in fields)
    if flags["no-healthcheck"]:
        if wanted:
            raise _refuse("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not wanted:
        return None
    health: dict[str, Any] = {}
    if flags["health-cmd"]:
        health["Test"] = ["CMD-SHELL", flags["health-cmd"]]
    for field, name in fields:
        if flags[name] < 0:
            raise _refuse(f"--{name} cannot be negative")
        if flags[name]:
            health[field] = flags[name]
    return health


def _volumes(given: list[str]) -> tuple[list[str] | None, dict[str, dict[str, str]]]:
    """Binds, and paths that get a volume without a name."""
    binds: dict[str, str] = {}
    anonymous: dict[str, dict[str, str]] = {}
    for text in given:
        parts = text.split(":")
        if not text:
            raise _refuse("invalid empty volume spec")
        if len(parts) == 1:
            anonymous[text] = {}
            continue
        if not all(parts):
            raise _refuse(f"invalid spec: {text}: empty section between colons")
        if len(parts) > 3:
            raise _refuse(f"invalid spec: {text}: too many colons")
        if parts[0].startswith("."):
            parts[0] = os.path.abspath(parts[0])
        binds[text] = ":".join(parts)
    return list(binds.values()) or None, anonymous


def _ports(flags: Flags) -> tuple[dict[str, dict[str, str]], dict[str, list[dict[str, str]]]]:
    if not flags["publish"] and not flags["expose"]:
        return {}, {}
    from barque.cli.ports import parse_expose, parse_publish  # noqa: PLC0415 - not always

    exposed, bindings = parse_publish(flags["publish"])
    for text in flags["expose"]:
        for port in parse_expose(text):
            exposed[port] = {}
    return exposed, bindings


def _host_config(
    flags: Flags,
    binds: list[str] | None,
    bindings: dict[str, list[dict[str, str]]],
    console: tuple[int, int],
) -> dict[str, Any]:
    _check_modes(flags)
    swappiness = flags["memory-swappiness"]
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise _refuse(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    restart = parse_restart_policy(flags["restart"])
    if flags["rm"] and restart["Name"] not in ("", "no"):
        raise _refuse("conflicting options: cannot specify both --restart and --rm")
    if flags["log-driver"] == "none" and flags["log-opt"]:
        raise _refuse("invalid logging opts for driver none")
    security, unconfined_paths = _security_options(flags["security-opt"])
    networks = flags["network"]
    config: dict[str, Any] = {
        "Binds": binds,
        "ContainerIDFile": flags["cidfile"],
        "LogConfig": {"Type": flags["log-driver"], "Config": to_map(flags["log-opt"])},
        "NetworkMode": networks[0]["Target"] if networks else "default",
        "PortBindings": bindings,
        "RestartPolicy": restart,
        "AutoRemove": flags["rm"],
        "VolumeDriver": flags["volume-driver"],
        "VolumesFrom": flags["volumes-from"] or None,
        "ConsoleSize": list(console),
    }
    if flags["annotation"]:
        config["Annotations"] = flags["annotation"]
    config |= {
        **_capabilities(flags["cap-add"], flags["cap-drop"]),
        "CgroupnsMode": flags["cgroupns"],
        "Dns": flags["dns"],
        "DnsOptions": flags["dns-option"],
        "DnsSearch": flags["dns-search"],
        "ExtraHosts": flags["add-host"] or None,
        "GroupAdd": flags["group-add"] or None,
        "IpcMode": flags["ipc"],
        "Cgroup": "",
        "Links": flags["link"] or None,
        "OomScoreAdj": flags["oom-score-adj"],
        "PidMode": flags["pid"],
        "Privileged": flags["privileged"],
        "PublishAllPorts": flags["publish-all"],
        "ReadonlyRootfs": flags["read-only"],
        "SecurityOpt": security or ([] if unconfined_paths else None),
    }
    config |= _given(
        StorageOpt=_storage_options(flags["storage-opt"]),
        Tmpfs={path: options for path, _, options in (t.partition(":") for t in flags["tmpfs"])},
    )
    userns = _user_namespace(flags)
    config |= {"UTSMode": flags["uts"], "UsernsMode": userns, "ShmSize": flags["shm-size"]}
    config |= _given(Sysctls=flags["sysctl"], Runtime=flags["runtime"])
    config |= {"Isolation": flags["isolation"], **_resources(flags)}
    if flags["mount"]:
        config["Mounts"] = flags["mount"]
    paths: list[str] | None = [] if unconfined_paths else None
    config |= {"MaskedPaths": paths, "ReadonlyPaths": paths}
    if flags.changed("init"):
        config["Init"] = flags["init"]
    return config


def _capabilities(add: list[str], drop: list[str]) -> dict[str, list[str] | None]:
    """CapAdd and CapDrop: full names, each once, sorted."""
    added = sorted({_capability(name) for name in add})
    dropped = sorted({_capability(name) for name in drop})
    return {"CapAdd": added or None, "CapDrop": dropped or None}


def _capability(name: str) -> str:
    name = name.strip().upper()
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are not empty."""
    return {name: value for name, value in fields.items() if value}


def _resources(flags: Flags) -> dict[str, Any]:
    devices, names = _devices(flags["device"])
    requests = list(flags["gpus"])
    if names:
        requests.append(
            {
                "Driver": "cdi",
                "Count": 0,
                "DeviceIDs": names,
                "Capabilities": None,
                "Options": None,
            }
        )
    ulimits = flags["ulimit"]
    return {
        **limits(flags),
        "BlkioWeightDevice": flags["blkio-weight-device"],
        "BlkioDeviceReadBps": flags["device-read-bps"],
        "BlkioDeviceWriteBps": flags["device-write-bps"],
        "BlkioDeviceReadIOps": flags["device-read-iops"],
        "BlkioDeviceWriteIOps": flags["device-write-iops"],
        "CgroupParent": flags["cgroup-parent"],
        "Devices": devices,
        "DeviceCgroupRules": flags["device-cgroup-rule"] or None,
        "DeviceRequests": requests or None,
        "MemorySwappiness": flags["memory-swappiness"],
        "OomKillDisable": flags["oom-kill-disable"],
        "PidsLimit": flags["pids-limit"],
        "Ulimits": [ulimits[name] for name in sorted(ulimits)],
        "CpuCount": flags["cpu-count"],
        "CpuPercent": flags["cpu-percent"],
        "IOMaximumIOps": flags["io-maxiops"],
        "IOMaximumBandwidth": flags["io-maxbandwidth"],
    }


def limits(flags: Flags) -> dict[str, Any]:
    """The part of the API's Resources that ``update`` and ``run`` share."""
    return {
        "CpuShares": flags["cpu-shares"],
        "Memory": flags["memory"],
        "NanoCpus": flags["cpus"],
        "BlkioWeight": flags["blkio-weight"],
        "CpuPeriod": flags["cpu-period"],
        "CpuQuota": flags["cpu-quota"],
        "CpuRealtimePeriod": flags["cpu-rt-period"],
        "CpuRealtimeRuntime": flags["cpu-rt-runtime"],
        "CpusetCpus": flags["cpuset-cpus"],
        "CpusetMems": flags["cpuset-mems"],
        "MemoryReservation": flags["memory-reservation"],
        "MemorySwap": flags["memory-swap"],
    }


def parse_restart_policy(text: str) -> dict[str, Any]:
    """The API's RestartPolicy of ``always``, ``on-failure:3`` and so on; the engine knows
    which names there are.
    """
    name, colon, count = text.partition(":")
    if colon and not name:
        raise _refuse("invalid restart policy format: no policy provided before colon")
    if colon and count and not count.removeprefix("-").isdigit():
        raise _refuse("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _check_modes(flags: Flags) -> None:
    pid = flags["pid"]
    if pid not in ("", "host") and not (pid.startswith("container:") and len(pid) > 10):
        raise _refuse("--pid: invalid PID mode")
    for name, allowed, word in (
        ("uts", ("", "host"), "UTS"),
        ("cgroupns", ("", "host", "private"), "CGROUP"),
    ):
        if flags[name] not in allowed:
            raise _refuse(f"--{name}: invalid {word} mode")
    userns = flags["userns"]
    if userns not in ("", "host", "private", "auto") and not userns.startswith(("auto:", "map:")):
        raise _refuse("--userns: invalid USER mode")


def _user_namespace(flags: Flags) -> str:
    """``--userns``, or as such a mode what podman's ``--uidmap`` and ``--gidmap`` say."""
    uids, gids = flags["uidmap"], flags["gidmap"]
    mode: str = flags["userns"]
    if not uids and not gids:
        return mode
    if mode not in ("", "private"):
        raise _refuse("--uidmap and --gidmap cannot be used with --userns")
    sides = [",".join(map(_id_mapping, side)) for side in (uids or gids, gids or uids)]
    return f"map:{sides[0]}" if sides[0] == sides[1] else f"map:{sides[0]}/{sides[1]}"


def _id_mapping(text: str) -> str:
    """``INSIDE:HOST[:SIZE]`` with its size, which is one if it is left out."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.isdigit() for part in parts):
        raise _refuse(f'invalid mapping "{text}": give INSIDE:HOST[:SIZE]')
    return ":".join([*parts, "1"][:3])


def _security_options(given: list[str]) -> tuple[list[str], bool]:
    """Options to send, with the content of seccomp files; and True for unconfined paths."""
    found: list[str] = []
    unconfined = False
    for text in given:
        if text == "systempaths=unconfined":
            unconfined = True
            continue
        key, equals, value = text.partition("=")
        if not equals and key != "no-new-privileges":
            key, equals, value = text.partition(":")
        if not (equals and value) and key != "no-new-privileges":
            raise _refuse(f'invalid --security-opt: "{text}"')
        if key == "seccomp" and value not in ("unconfined", "builtin"):
            found.append(f"seccomp={_seccomp_profile(value)}")
        else:
            found.append(text)
    return found, unconfined


def _seccomp_profile(path: str) -> str:
    """The profile's JSON without blanks."""
    import json  # noqa: PLC0415 - rare

    try:
        with open(path, "rb") as file:
            profile = json.load(file)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise _refuse(f"opening seccomp profile ({path}) failed: open {path}: {why}") from error
    except ValueError as error:
        raise _refuse(f"compacting json for seccomp profile ({path}) failed: {error}") from error
    return json.dumps(profile, separators=(",", ":"), ensure_ascii=False)


def _storage_options(given: list[str]) -> dict[str, str]:
    for text in given:
        if "=" not in text:
            raise _refuse("invalid storage option")
    return to_map(given)


def _devices(given: list[str]) -> tuple[list[dict[str, str]], list[str]]:
    """Device mappings, and the names of CDI devices (``vendor.com/class=name``)."""
    mappings: list[dict[str, str]] = []
    names: list[str] = []
    for text in given:
        if _is_cdi_name(text):
            names.append(text)
        else:
            mappings.append(_device(text))
    return mappings, names


def _is_cdi_name(text: str) -> bool:
    kind, equals, name = text.partition("=")
    vendor, slash, kind = kind.partition("/")
    return bool(equals and slash and vendor and kind and name) and vendor[0].isalpha()


def _device(text: str) -> dict[str, str]:
    parts = text.split(":")
    if not parts[0] or len(parts) > 3:
        raise _refuse(f"bad format for path: {text}")
    inside, mode = parts[0], "rwm"
    if len(parts) == 3:
        inside, mode = parts[1], parts[2]
        if not _is_device_mode(mode):
            raise _refuse(f"bad mode specified: {mode}")
    elif len(parts) == 2:
        if _is_device_mode(parts[1]):
            mode = parts[1]
        else:
            inside = parts[1]
    if not inside.startswith("/"):
        raise _refuse(f"{inside} is not an absolute path")
    outside = parts[0]
    if len(parts) < 3:
        inside = os.path.normpath(inside)
        outside = inside if len(parts) == 1 or inside == parts[0] else outside
    return {"PathOnHost": outside, "PathInContainer": inside, "CgroupPermissions": mode}


def _is_device_mode(text: str) -> bool:
    return bool(text) and not set(text) - set("rwm") and len(set(text)) == len(text)


def _endpoints(flags: Flags) -> dict[str, Any]:
    """EndpointsConfig: the ``--network`` options, the first with the older options in it."""
    networks = flags["network"] or [{"Target": "default"}]
    found: dict[str, Any] = {}
    own = builtin = False
    for position, network in enumerate(networks):
        target = network["Target"]
        if flags["network"]:
            own = own or is_user_defined(target)
            builtin = builtin or not is_user_defined(target)
        options = _with_flags(network, flags) if position == 0 else network
        endpoint = _endpoint(options)
        if target in found:
            raise _refuse(f'network "{target}" is specified multiple times')
        if flags["network"] and len(networks) == 1 and _is_plain(endpoint):
            continue  # the engine makes it from NetworkMode
        found[target] = endpoint
    if own and builtin:
        raise _refuse(
            "conflicting options: cannot attach both user-defined and non-user-defined "
            "network-modes"
        )
    return found


def is_user_defined(mode: str) -> bool:
    """True if a network mode names a network that somebody made."""
    return mode not in ("default", "bridge", "host", "none", "nat") and not mode.startswith(
        "container:"
    )


def _with_flags(network: dict[str, Any], flags: Flags) -> dict[str, Any]:
    """A network's options with those given by flags of their own."""
    merged = dict(network)
    for key, name, words in (
        ("Aliases", "network-alias", "--network-alias and per-network alias"),
        ("IPv4Address", "ip", "--ip and per-network IPv4 address"),
        ("IPv6Address", "ip6", "--ip6 and per-network IPv6 address"),
        ("MacAddress", "mac-address", "--mac-address and per-network MAC address"),
        (
            "LinkLocalIPs",
            "link-local-ip",
            "--link-local-ip and per-network link-local IP addresses",
        ),
    ):
        if not flags[name]:
            continue
        if merged.get(key):
            raise _refuse(f"conflicting options: cannot specify both {words}")
        merged[key] = flags[name]
    if flags["link"] and is_user_defined(network["Target"]):
        merged["Links"] = flags["link"]
    return merged


def _endpoint(options: dict[str, Any]) -> dict[str, Any]:
    target = options["Target"]
    if not target.strip():
        raise _refuse("no name set for network")
    if not is_user_defined(target):
        if options.get("Aliases"):
            raise _refuse("network-scoped aliases are only supported for user-defined networks")
        if options.get("Links"):
            raise _refuse("links are only supported for user-defined networks")
    addresses = _given(
        IPv4Address=options.get("IPv4Address"),
        IPv6Address=options.get("IPv6Address"),
        LinkLocalIPs=options.get("LinkLocalIPs"),
    )
    mac = options.get("MacAddress", "")
    if mac and not _is_mac(mac.strip()):
        raise _refuse(f"{mac} is not a valid mac address")
    return {
        "IPAMConfig": addresses or None,
        "Links": options.get("Links"),
        "Aliases": options.get("Aliases"),
        "MacAddress": mac,
        "DriverOpts": options.get("DriverOpts"),
        "GwPriority": options.get("GwPriority", 0),
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }


def _is_plain(endpoint: dict[str, Any]) -> bool:
    return not any(endpoint.values())


def _is_mac(text: str) -> bool:
    parts = text.replace("-", ":").split(":")
    return len(parts) in (6, 8, 20) and all(
        len(part) == 2 and not set(part.lower()) - set("0123456789abcdef") for part in parts
    )
