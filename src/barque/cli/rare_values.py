"""Option values with a grammar of their own: ``--mount``, ``--network``, ``--ulimit``, ``--gpus``.

Source: cli.md section 3; texts of errors are docker's.
"""

from __future__ import annotations

import _socket
import os

from barque.cli.values import parse_bool, parse_bytes, parse_int, split_csv
from barque.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ULIMITS = frozenset(
    (
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    )
)
_MOUNT_SWITCHES = frozenset(
    ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src")
)
_BIND_RECURSIVE = {
    "enabled": "",
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}
_MODE_BITS = 32


def parse_ulimit(text: str) -> dict[str, dict[str, Any]]:
    """``nofile=1024:2048``: the API's Ulimit, by name. -1 is unlimited."""
    name, equals, limits = text.partition("=")
    if not equals or not limits:
        raise InvalidArgument(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise InvalidArgument(f"invalid ulimit type: {name}")
    parts = limits.split(":")
    if len(parts) > 2:
        raise InvalidArgument(
            f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        )
    soft = _limit(parts[0])
    hard = _limit(parts[1]) if len(parts) == 2 else soft
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidArgument(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return {name: {"Name": name, "Hard": hard, "Soft": soft}}


def _limit(text: str) -> int:
    if not text.removeprefix("-").isdigit():
        raise InvalidArgument(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def parse_mount(text: str) -> dict[str, Any]:
    """``type=bind,src=/a,dst=/b,ro``: the API's Mount. The default type is volume."""
    text = text.strip()
    if not text:
        raise InvalidArgument("value is empty")
    mount: dict[str, Any] = {"Type": "volume"}
    for field in split_csv(text):
        name, equals, value = field.partition("=")
        if name.strip() != name:
            raise InvalidArgument(
                f"invalid option '{name.strip()}' in '{field}': option should not have whitespace"
            )
        if equals and not value.strip():
            raise InvalidArgument(f"invalid value for '{name}': value is empty")
        if value.strip() != value:
            raise InvalidArgument(
                f"invalid value for '{name}' in '{field}': value should not have whitespace"
            )
        key = name.lower()
        if not equals and key not in _MOUNT_SWITCHES:
            raise InvalidArgument(f"invalid field '{field}' must be a key=value pair")
        _set_mount(mount, key, value if equals else None, field)
    _check_mount(mount)
    return mount


def _set_mount(mount: dict[str, Any], key: str, given: str | None, field: str) -> None:
    value = given or ""
    match key:
        case "type":
            mount["Type"] = value.lower()
        case "source" | "src":
            mount["Source"] = absolute_if_dotted(value)
        case "target" | "dst" | "destination":
            mount["Target"] = value
        case "readonly" | "ro":
            _keep(mount, "ReadOnly", _switch(key, given))
        case "consistency":
            mount["Consistency"] = value.lower()
        case "image-subpath":
            _options(mount, "ImageOptions")["Subpath"] = value
        case "tmpfs-size" | "tmpfs-mode":
            _set_tmpfs(mount, key, value)
        case _ if key.startswith("bind-"):
            _set_bind(mount, key, given, field)
        case _ if key.startswith("volume-"):
            _set_volume(mount, key, given, field)
        case _:
            raise _unknown(key, field)


def _unknown(key: str, field: str) -> InvalidArgument:
    return InvalidArgument(f"unknown option '{key}' in '{field}'")


def _set_tmpfs(mount: dict[str, Any], key: str, value: str) -> None:
    options = _options(mount, "TmpfsOptions")
    problem = f"invalid value for {key}: {value}"
    if key == "tmpfs-size":
        try:
            options["SizeBytes"] = parse_bytes(value)
        except InvalidArgument:
            raise InvalidArgument(problem) from None
        return
    if not value or set(value) - set("01234567") or int(value, 8) >> _MODE_BITS:
        raise InvalidArgument(problem)
    options["Mode"] = int(value, 8)


def _set_bind(mount: dict[str, Any], key: str, given: str | None, field: str) -> None:
    value = given or ""
    match key:
        case "bind-propagation":
            _options(mount, "BindOptions")["Propagation"] = value.lower()
        case "bind-nonrecursive":
            raise InvalidArgument(
                "bind-nonrecursive is deprecated, use bind-recursive=disabled instead"
            )
        case "bind-recursive":
            if value not in _BIND_RECURSIVE:
                raise InvalidArgument(
                    f"invalid value for {key}: {value} "
                    '(must be "enabled", "disabled", "writable", or "readonly")'
                )
            if _BIND_RECURSIVE[value]:
                _options(mount, "BindOptions")[_BIND_RECURSIVE[value]] = True
        case "bind-create-src":
            _keep(_options(mount, "BindOptions"), "CreateMountpoint", _switch(key, given))
        case _:
            raise _unknown(key, field)


def _set_volume(mount: dict[str, Any], key: str, given: str | None, field: str) -> None:
    value = given or ""
    match key:
        case "volume-subpath":
            _options(mount, "VolumeOptions")["Subpath"] = value
        case "volume-nocopy":
            _keep(_options(mount, "VolumeOptions"), "NoCopy", _switch(key, given))
        case "volume-label":
            _put(_options(mount, "VolumeOptions"), "Labels", value)
        case "volume-driver":
            _driver(mount)["Name"] = value
        case "volume-opt":
            _put(_driver(mount), "Options", value)
        case _:
            raise _unknown(key, field)


def _check_mount(mount: dict[str, Any]) -> None:
    kind = mount["Type"]
    if not kind:
        raise InvalidArgument("type is required")
    if not mount.get("Target"):
        raise InvalidArgument("target is required")
    for options, owner, word in (
        ("BindOptions", "bind", "bind"),
        ("VolumeOptions", "volume", "volume"),
        ("ImageOptions", "image", "image"),
        ("TmpfsOptions", "tmpfs", "tmpfs"),
    ):
        if options in mount and kind != owner:
            raise InvalidArgument(f"cannot mix '{word}-*' options with mount type '{kind}'")
    bind = mount.get("BindOptions", {})
    if bind.get("ReadOnlyNonRecursive"):
        if not mount.get("ReadOnly"):
            raise InvalidArgument(
                "option 'bind-recursive=writable' requires "
                "'readonly' to be specified in conjunction"
            )
    elif bind.get("ReadOnlyForceRecursive"):
        if not mount.get("ReadOnly"):
            raise InvalidArgument(
                "option 'bind-recursive=readonly' requires "
                "'readonly' to be specified in conjunction"
            )
        if bind.get("Propagation") != "rprivate":
            raise InvalidArgument(
                "option 'bind-recursive=readonly' requires "
                "'bind-propagation=rprivate' to be specified in conjunction"
            )


def _options(mount: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in mount:
        mount[name] = {"DriverConfig": {}} if name == "VolumeOptions" else {}
    options: dict[str, Any] = mount[name]
    return options


def _driver(mount: dict[str, Any]) -> dict[str, Any]:
    driver: dict[str, Any] = _options(mount, "VolumeOptions")["DriverConfig"]
    return driver


def _put(target: dict[str, Any], name: str, text: str) -> None:
    key, _, value = text.partition("=")
    target.setdefault(name, {})[key] = value


def _keep(target: dict[str, Any], name: str, value: bool) -> None:
    """Sets a boolean as Go's omitempty shows it: False is absence."""
    if value:
        target[name] = True
    else:
        target.pop(name, None)


def _switch(key: str, value: str | None) -> bool:
    if value is None:
        return True
    try:
        return parse_bool(value)
    except InvalidArgument:
        raise InvalidArgument(
            f"invalid value for '{key}': invalid boolean value (\"{value}\"): "
            'must be one of "true", "1", "false", or "0" (default "true")'
        ) from None


def absolute_if_dotted(path: str) -> str:
    """A path beginning with ``.`` made absolute and clean; any other as it is."""
    if not path.startswith("."):
        return path
    return os.path.abspath(path)


def parse_network(text: str) -> dict[str, Any]:
    """A network's name, or ``name=..,alias=..,ip=..``.

    Keys of the value: Target, Aliases, DriverOpts, IPv4Address, IPv6Address, LinkLocalIPs,
    MacAddress, GwPriority; those that were not given are absent.
    """
    if "=" not in text:
        return {"Target": text}
    found: dict[str, Any] = {}
    for field in split_csv(text):
        key, equals, value = (part.strip() for part in field.lower().partition("="))
        if not equals or not key:
            raise InvalidArgument(f"invalid field {field}")
        match key:
            case "name":
                found["Target"] = value
            case "alias":
                found.setdefault("Aliases", []).append(value)
            case "ip":
                found["IPv4Address"] = check_address(value)
            case "ip6":
                found["IPv6Address"] = check_address(value)
            case "mac-address":
                found["MacAddress"] = value
            case "link-local-ip":
                found.setdefault("LinkLocalIPs", []).append(check_address(value))
            case "driver-opt":
                name, equals, setting = (part.strip() for part in value.partition("="))
                if not equals or not name:
                    raise InvalidArgument("invalid key value pair format in driver options")
                found.setdefault("DriverOpts", {})[name] = setting
            case "gw-priority":
                try:
                    found["GwPriority"] = parse_int(value)
                except InvalidArgument as error:
                    why = str(error).rpartition(": ")[2]
                    raise InvalidArgument(f"invalid gw-priority ({value}): {why}") from None
            case _:
                raise InvalidArgument(f"invalid field key {key}")
    if not found.get("Target"):
        raise InvalidArgument("network name/id is not specified")
    return found


def is_address(text: str) -> bool:
    """True for an IPv4 or IPv6 address in text form."""
    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    try:
        _socket.inet_pton(family, text.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def check_address(text: str) -> str:
    """``text``, if it is an address. (:mod:`ipaddress` is slow to import.)"""
    if not is_address(text.strip()):
        raise InvalidArgument(f"{text} is not an ip address")
    return text.strip()


def parse_gpus(text: str) -> dict[str, Any]:
    """``all``, a number, or ``driver=,count=,device=,capabilities=,options=``."""
    request: dict[str, Any] = {
        "Driver": "",
        "Count": 0,
        "DeviceIDs": None,
        "Capabilities": [["gpu"]],
        "Options": {},
    }
    seen: set[str] = set()
    for field in split_csv(text):
        key, equals, value = field.partition("=")
        if key in seen:
            raise InvalidArgument(f"gpu request key '{key}' can be specified only once")
        seen.add(key)
        if not equals:
            seen.add("count")
            request["Count"] = _gpu_count(key)
            continue
        match key:
            case "driver":
                request["Driver"] = value
            case "count":
                request["Count"] = _gpu_count(value)
            case "device":
                request["DeviceIDs"] = value.split(",")
            case "capabilities":
                request["Capabilities"] = [[*value.split(","), "gpu"]]
            case "options":
                request["Options"] = dict(item.partition("=")[::2] for item in split_csv(value))
            case _:
                raise InvalidArgument(f"unexpected key '{key}' in '{field}'")
    if "count" not in seen and request["DeviceIDs"] is None:
        request["Count"] = 1
    return request


def _gpu_count(text: str) -> int:
    if text == "all":
        return -1
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(
            f'invalid count ({text}): value must be either "all" or an integer: invalid syntax'
        ) from None
