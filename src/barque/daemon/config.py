"""barqued's configuration: flags and ``daemon.json``, with dockerd's names, into one value.

Every option is one field of ``Options``; its name in daemon.json is the field's, and the flags
table says how the command line writes it. An option may stand in one of the two places only.
Source: dockerd's command line and daemon.json reference.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

import barque
from barque.daemon.foreign import set_aside
from barque.engine.defaults import DEFAULT_PIDS_LIMIT, DOCKER, parse_capabilities
from barque.engine.runtimes import BUILTIN, DEFAULT, Runtimes
from barque.engine.userns import DEFAULT_POOL
from barque.errors import InvalidArgument
from barque.models.api import Ulimit
from barque.models.launch import ExternalRuntime
from barque.network.config import AddressPool, NetworkConfig
from barque.registry.config import RegistryConfig, check_config
from barque.runtime.capabilities import DEFAULT as DEFAULT_CAPABILITIES

DEFAULT_CONFIG_FILE = Path("/etc/barque/daemon.json")
DEFAULT_EXEC_ROOT = Path("/run/barque")
DEFAULT_HOST = "unix:///run/barque.sock"

_LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
_STORAGE_DRIVERS = ("", "overlay", "overlay2", "vfs", "btrfs")
_LOG_DRIVERS = ("json-file", "none")
_IPC_MODES = ("private", "shareable")
_CGROUPNS_MODES = ("", "private", "host")
_RUNTIME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class RuntimeOption(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """One of ``runtimes``: a program with runc's command line, and arguments for it."""

    path: str
    runtime_args: list[str] = []


class Options(
    msgspec.Struct, rename="kebab", kw_only=True, frozen=True, forbid_unknown_fields=True
):
    """The keys of daemon.json."""

    data_root: str = "/var/lib/barque"
    exec_root: str = str(DEFAULT_EXEC_ROOT)
    hosts: list[str] = []
    pidfile: str = ""
    group: str = ""
    log_level: str = "info"
    debug: bool = False
    labels: list[str] = []
    log_driver: str = "json-file"
    log_opts: dict[str, str] = {}
    storage_driver: str = ""
    init: bool = False
    cgroup_parent: str = ""
    runtimes: dict[str, RuntimeOption] = {}
    default_runtime: str = DEFAULT
    default_shm_size: str | int = 64 << 20
    default_ulimits: dict[str, Ulimit] = {}
    default_pids_limit: int = DEFAULT_PIDS_LIMIT
    default_capabilities: list[str] | str | None = None
    default_ipc_mode: str = "private"
    default_cgroupns_mode: str = ""
    no_new_privileges: bool = False
    seccomp_profile: str = "builtin"
    userns_remap: str = ""
    userns_auto_pool: str = DEFAULT_POOL
    bridge: str = ""
    bip: str = ""
    fixed_cidr: str = ""
    mtu: int = 0
    ip: str = ""
    icc: bool = True
    ip_masq: bool = True
    ip_forward: bool = True
    default_address_pools: list[AddressPool] = []
    dns: list[str] = []
    dns_opts: list[str] = []
    dns_search: list[str] = []
    host_gateway_ips: list[str] = []
    registry_mirrors: list[str] = []
    insecure_registries: list[str] = []
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    tls: bool = False
    tlsverify: bool = False
    tlscacert: str = ""
    tlscert: str = ""
    tlskey: str = ""
    insecure_tcp: bool = False


class Config(msgspec.Struct, kw_only=True, frozen=True):
    """The configuration in force. Paths are absolute."""

    data_root: Path
    exec_root: Path
    hosts: tuple[str, ...]
    pidfile: Path
    group: str
    """Group of unix sockets; "" is docker's, where there is one."""
    log_level: str
    debug: bool
    labels: tuple[str, ...]
    log_driver: str
    log_opts: dict[str, str]
    storage_driver: str
    """overlay, vfs, or "": the best that works."""
    init: bool
    cgroup_parent: str
    runtimes: Runtimes
    default_shm_size_bytes: int
    default_ulimits: tuple[Ulimit, ...]
    default_pids_limit: int
    """-1 is no limit."""
    default_capabilities: tuple[str, ...]
    default_ipc_mode: str
    default_cgroupns_mode: str
    """host, private, or "": as barque chooses."""
    no_new_privileges: bool
    seccomp_profile: str
    """``builtin``, ``unconfined`` or a file."""
    userns_remap: str
    """``user[:group]``, ``uid[:gid]``, ``default``, or "": no user namespaces unless asked for."""
    userns_auto_pool: str
    """A user with subordinate ids, or ``START:COUNT``."""
    network: NetworkConfig
    registries: RegistryConfig
    tls: bool
    tlsverify: bool
    tlscacert: str
    tlscert: str
    tlskey: str
    insecure_tcp: bool
    validate_only: bool = False
    """Only check the configuration, then leave (``--validate``)."""
    warnings: tuple[str, ...] = ()
    """About keys that are dockerd's and have no effect."""


Kind = Literal["text", "flag", "integer", "list", "words", "map", "pools", "ulimits", "runtimes"]


class _Flag(NamedTuple):
    key: str
    names: tuple[str, ...]
    kind: Kind
    help: str


_FLAGS = (
    _Flag("data-root", ("--data-root",), "text", "root directory of persistent state"),
    _Flag("exec-root", ("--exec-root",), "text", "root directory of run-time state"),
    _Flag("hosts", ("-H", "--host"), "list", "where to listen: unix://, tcp://, fd://"),
    _Flag("pidfile", ("-p", "--pidfile"), "text", "path of the PID file"),
    _Flag("group", ("-G", "--group"), "text", "group of the unix socket"),
    _Flag("log-level", ("-l", "--log-level"), "text", "debug, info, warn, error or fatal"),
    _Flag("debug", ("-D", "--debug"), "flag", "debug mode"),
    _Flag("labels", ("--label",), "list", "set key=value labels of the engine"),
    _Flag("log-driver", ("--log-driver",), "text", "default driver of container logs"),
    _Flag("log-opts", ("--log-opt",), "map", "default options of the log driver"),
    _Flag("storage-driver", ("-s", "--storage-driver"), "text", "overlay, vfs or btrfs"),
    _Flag("init", ("--init",), "flag", "run an init in containers"),
    _Flag("cgroup-parent", ("--cgroup-parent",), "text", "parent cgroup of all containers"),
    _Flag("runtimes", ("--add-runtime",), "runtimes", "offer another OCI runtime: name=path"),
    _Flag("default-runtime", ("--default-runtime",), "text", "runtime of who names none"),
    _Flag("default-shm-size", ("--default-shm-size",), "text", "size of containers' /dev/shm"),
    _Flag("default-ulimits", ("--default-ulimit",), "ulimits", "name=soft[:hard] of containers"),
    _Flag(
        "default-pids-limit",
        ("--default-pids-limit",),
        "integer",
        "processes of a container that asks for no limit; -1 for no limit",
    ),
    _Flag(
        "default-capabilities",
        ("--default-capabilities",),
        "words",
        "capabilities of containers, with commas between them, or docker for docker's",
    ),
    _Flag("default-ipc-mode", ("--default-ipc-mode",), "text", "private or shareable"),
    _Flag("default-cgroupns-mode", ("--default-cgroupns-mode",), "text", "host or private"),
    _Flag("no-new-privileges", ("--no-new-privileges",), "flag", "containers gain no privileges"),
    _Flag("seccomp-profile", ("--seccomp-profile",), "text", "a file, builtin or unconfined"),
    _Flag("userns-remap", ("--userns-remap",), "text", "user[:group] whose subids containers get"),
    _Flag(
        "userns-auto-pool",
        ("--userns-auto-pool",),
        "text",
        "user, or START:COUNT, whose subids --userns=auto is served from",
    ),
    _Flag("bridge", ("-b", "--bridge"), "text", "bridge device; none: no default network"),
    _Flag("bip", ("--bip",), "text", "address and subnet of the bridge"),
    _Flag("fixed-cidr", ("--fixed-cidr",), "text", "part of the subnet that is handed out"),
    _Flag("mtu", ("--mtu",), "integer", "MTU of containers' networks"),
    _Flag("ip", ("--ip",), "text", "address at which ports are published that name none"),
    _Flag("icc", ("--icc",), "flag", "let containers talk to each other"),
    _Flag("ip-masq", ("--ip-masq",), "flag", "translate addresses to the outside"),
    _Flag("ip-forward", ("--ip-forward",), "flag", "turn on the kernel's forwarding"),
    _Flag("default-address-pools", ("--default-address-pool",), "pools", "base=CIDR,size=N"),
    _Flag("dns", ("--dns",), "list", "DNS servers of containers"),
    _Flag("dns-opts", ("--dns-opt", "--dns-option"), "list", "DNS options of containers"),
    _Flag("dns-search", ("--dns-search",), "list", "DNS search domains of containers"),
    _Flag("host-gateway-ips", ("--host-gateway-ip",), "list", "address of host-gateway"),
    _Flag("registry-mirrors", ("--registry-mirror",), "list", "ask this mirror before Docker Hub"),
    _Flag(
        "insecure-registries",
        ("--insecure-registry",),
        "list",
        "host[:port] or CIDR of registries that may be reached without verified TLS",
    ),
    _Flag(
        "max-concurrent-downloads",
        ("--max-concurrent-downloads",),
        "integer",
        "layers that are downloaded at once",
    ),
    _Flag(
        "max-concurrent-uploads",
        ("--max-concurrent-uploads",),
        "integer",
        "layers that are uploaded at once",
    ),
    _Flag(
        "max-download-attempts",
        ("--max-download-attempts",),
        "integer",
        "tries in a row to download a layer",
    ),
    _Flag("tls", ("--tls",), "flag", "use TLS on tcp sockets"),
    _Flag("tlsverify", ("--tlsverify",), "flag", "use TLS and verify clients"),
    _Flag("tlscacert", ("--tlscacert",), "text", "trust clients certified by this CA"),
    _Flag("tlscert", ("--tlscert",), "text", "certificate file"),
    _Flag("tlskey", ("--tlskey",), "text", "key file"),
    _Flag(
        "insecure-tcp",
        ("--insecure-tcp",),
        "flag",
        "allow tcp without mutual TLS: everybody who reaches the port is root here",
    ),
)


def load_config(arguments: Sequence[str]) -> Config:
    """Read the command line and the file it names (default /etc/barque/daemon.json).

    Raises InvalidArgument. Leaves the program, as command lines do, for ``--help``,
    ``--version`` and flags that do not exist.
    """
    given = vars(_make_parser().parse_args(arguments))
    file_name: str | None = given.pop("config-file")
    validate_only: bool = given.pop("validate")
    flags = {key: value for key, value in given.items() if value is not None}
    path = Path(file_name) if file_name is not None else DEFAULT_CONFIG_FILE
    contents = read_file(path, required=file_name is not None)
    return merge(flags, contents, source=str(path), validate_only=validate_only)


def read_file(path: Path, *, required: bool) -> dict[str, Any]:
    """Read a daemon.json; an absent one is empty unless ``required``. Raises InvalidArgument."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if required:
            raise InvalidArgument(f"the configuration file {path} does not exist") from None
        return {}
    except OSError as error:
        raise InvalidArgument(f"cannot read the configuration file {path}: {error}") from error
    if not text.strip():
        return {}
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid configuration file {path}: {error}") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"invalid configuration file {path}: it must be a JSON object")
    return document


def merge(
    flags: dict[str, Any], contents: dict[str, Any], *, source: str, validate_only: bool = False
) -> Config:
    """Make the configuration of flags (by daemon.json key) and a file's contents.

    Raises InvalidArgument for unknown keys, keys in both, and values that make no sense.
    """
    contents, warnings = set_aside(_rename_old(contents), source)
    known = {field.encode_name for field in msgspec.structs.fields(Options)}
    if unknown := sorted(set(contents) - known):
        raise InvalidArgument(
            f"invalid configuration file {source}: the following directives don't match any "
            f"configuration option: {', '.join(unknown)}"
        )
    if both := sorted(set(contents) & set(flags)):
        told = ", ".join(
            f"{key}: (from flag: {flags[key]}, from file: {contents[key]})" for key in both
        )
        raise InvalidArgument(
            f"invalid configuration file {source}: the following directives are specified both "
            f"as a flag and in the configuration file: {told}"
        )
    try:
        options = msgspec.convert(_name_ulimits(contents) | flags, Options)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"invalid configuration ({source}): {error}") from None
    return _finish(options, validate_only=validate_only, warnings=warnings)


def _rename_old(contents: dict[str, Any]) -> dict[str, Any]:
    """``host-gateway-ip`` was the name of a single address. Both together are an error."""
    old, new = "host-gateway-ip", "host-gateway-ips"
    if old not in contents or new in contents:
        return contents
    return {key: value for key, value in contents.items() if key != old} | {new: [contents[old]]}


def _name_ulimits(contents: dict[str, Any]) -> dict[str, Any]:
    """daemon.json may leave a ulimit's name to its key."""
    ulimits = contents.get("default-ulimits")
    if not isinstance(ulimits, dict):
        return contents
    named = {
        key: {"Name": key, **value} if isinstance(value, dict) else value
        for key, value in ulimits.items()
    }
    return contents | {"default-ulimits": named}


def _finish(options: Options, *, validate_only: bool, warnings: list[str]) -> Config:
    _check_choice("log-level", options.log_level, _LOG_LEVELS)
    _check_choice("storage-driver", options.storage_driver, _STORAGE_DRIVERS)
    _check_choice("log-driver", options.log_driver, _LOG_DRIVERS)
    _check_choice("default-ipc-mode", options.default_ipc_mode, _IPC_MODES)
    _check_choice("default-cgroupns-mode", options.default_cgroupns_mode, _CGROUPNS_MODES)
    for label in options.labels:
        if "=" not in label:
            raise InvalidArgument(f"bad attribute format: {label}: a label is key=value")
    network = msgspec.convert(
        {
            field.encode_name: msgspec.to_builtins(getattr(options, field.name))
            for field in msgspec.structs.fields(NetworkConfig)
        },
        NetworkConfig,
    )
    network.validate()
    exec_root = _parse_directory("exec-root", options.exec_root)
    return Config(
        data_root=_parse_directory("data-root", options.data_root),
        exec_root=exec_root,
        hosts=tuple(options.hosts) or (DEFAULT_HOST,),
        pidfile=Path(options.pidfile) if options.pidfile else exec_root / "barqued.pid",
        group=options.group,
        log_level="debug" if options.debug else options.log_level,
        debug=options.debug,
        labels=tuple(options.labels),
        log_driver=options.log_driver,
        log_opts=options.log_opts,
        storage_driver=options.storage_driver.removesuffix("2"),
        init=options.init,
        cgroup_parent=options.cgroup_parent,
        runtimes=_find_runtimes(options.runtimes, options.default_runtime),
        default_shm_size_bytes=parse_size(options.default_shm_size),
        default_ulimits=tuple(options.default_ulimits.values()),
        default_pids_limit=_parse_pids_limit(options.default_pids_limit),
        default_capabilities=(
            DEFAULT_CAPABILITIES
            if options.default_capabilities is None
            else parse_capabilities(options.default_capabilities)
        ),
        default_ipc_mode=options.default_ipc_mode,
        default_cgroupns_mode=options.default_cgroupns_mode,
        no_new_privileges=options.no_new_privileges,
        seccomp_profile=options.seccomp_profile,
        userns_remap=options.userns_remap,
        userns_auto_pool=_check_pool(options.userns_auto_pool),
        network=network,
        registries=check_config(
            options.registry_mirrors,
            options.insecure_registries,
            downloads=options.max_concurrent_downloads,
            uploads=options.max_concurrent_uploads,
            attempts=options.max_download_attempts,
        ),
        tls=options.tls or options.tlsverify,
        tlsverify=options.tlsverify,
        tlscacert=options.tlscacert,
        tlscert=options.tlscert,
        tlskey=options.tlskey,
        insecure_tcp=options.insecure_tcp,
        validate_only=validate_only,
        warnings=tuple(warnings),
    )


def _check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        offered = ", ".join(filter(None, choices))
        raise InvalidArgument(f"invalid {key} {value!r}: choose one of {offered}")


def _find_runtimes(wanted: Mapping[str, RuntimeOption], default: str) -> Runtimes:
    """Look the programs up. Raises InvalidArgument for one that is not there."""
    found = {}
    for name, option in wanted.items():
        if not _RUNTIME_NAME.fullmatch(name) or name == BUILTIN:
            raise InvalidArgument(
                f"invalid runtime name {name!r}: choose one of A-Z a-z 0-9 _ . - other than "
                f"{BUILTIN}, which is built in"
            )
        path = shutil.which(option.path)
        if path is None:
            raise InvalidArgument(
                f"runtime {name}: {option.path} is no program here: install it, or correct its path"
            )
        found[name] = ExternalRuntime(path=os.path.abspath(path), args=option.runtime_args)
    runtimes = Runtimes(found, default)
    if default not in runtimes.describe():
        raise InvalidArgument(f"specified default runtime '{default}' does not exist")
    return runtimes


def _check_pool(text: str) -> str:
    start, colon, count = text.partition(":")
    numbers = start.isdecimal() and count.isdecimal() and int(start) > 0 and int(count) > 0
    if not text or (colon and not numbers):
        raise InvalidArgument(
            f"invalid userns-auto-pool {text!r}: give a user, or START:COUNT such as "
            "2147483648:16777216"
        )
    return text


def _parse_directory(key: str, text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or path == Path("/"):
        raise InvalidArgument(f"invalid {key} {text!r}: give an absolute path other than /")
    return path


def _parse_pids_limit(value: int) -> int:
    if value < -1 or value == 0:
        raise InvalidArgument(
            f"invalid default-pids-limit {value}: give a number of processes, or -1 for no limit"
        )
    return value


def parse_size(value: str | int) -> int:
    """Read ``64M`` or a number of bytes. Raises InvalidArgument."""
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise InvalidArgument(f"invalid size {value!r}: give for example 64m or 1g")
    return int(float(match[1]) * _SIZE_UNITS[match[2].lower()])


def parse_ulimit(text: str) -> Ulimit:
    """Read ``name=soft[:hard]``; -1 is unlimited. Raises InvalidArgument."""
    match = re.fullmatch(r"(\w+)=(-1|\d+)(?::(-1|\d+))?", text)
    if match is None:
        raise InvalidArgument(f"invalid ulimit {text!r}: give name=soft[:hard]")
    soft = int(match[2])
    hard = int(match[3]) if match[3] is not None else soft
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidArgument(f"invalid ulimit {text!r}: soft limit is above the hard limit")
    return Ulimit(name=match[1], soft=soft, hard=hard)


def _parse_pool(text: str) -> dict[str, Any]:
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    if set(fields) != {"base", "size"} or not fields["size"].isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: give base=CIDR,size=N")
    return {"base": fields["base"], "size": int(fields["size"])}


def _parse_flag_value(text: str) -> bool:
    lowered = text.lower()
    if lowered in {"1", "t", "true"}:
        return True
    if lowered in {"0", "f", "false"}:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _parse_words(text: str) -> list[str] | str:
    words = [word.strip() for word in text.split(",") if word.strip()]
    return text if text == DOCKER else words


class _Ulimits(argparse.Action):
    """Collects ulimits by name: the last of a name counts."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del option_string
        try:
            ulimit = parse_ulimit(values)
        except InvalidArgument as error:
            parser.error(str(error))
        collected = getattr(namespace, self.dest) or {}
        collected[ulimit.name] = msgspec.to_builtins(ulimit)
        setattr(namespace, self.dest, collected)


class _RuntimePaths(argparse.Action):
    """Collects runtimes as daemon.json has them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, equals, path = values.partition("=")
        if not equals or not name or not path:
            parser.error(f"argument {option_string}: {values!r}: give name=path")
        collected = getattr(namespace, self.dest) or {}
        collected[name] = {"path": path}
        setattr(namespace, self.dest, collected)


class _Map(argparse.Action):
    """Collects key=value."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        key, equals, value = values.partition("=")
        if not equals:
            parser.error(f"argument {option_string}: {values!r}: give key=value")
        collected = getattr(namespace, self.dest) or {}
        collected[key] = value
        setattr(namespace, self.dest, collected)


_ARGUMENTS: dict[Kind, dict[str, Any]] = {
    "text": {},
    "flag": {"nargs": "?", "const": True, "type": _parse_flag_value, "metavar": "BOOL"},
    "integer": {"type": int},
    "list": {"action": "append"},
    "words": {"type": _parse_words, "metavar": "A,B"},
    "map": {"action": _Map, "metavar": "KEY=VALUE"},
    "pools": {"action": "append", "type": _parse_pool},
    "runtimes": {"action": _RuntimePaths, "metavar": "NAME=PATH"},
    "ulimits": {"action": _Ulimits, "metavar": "NAME=SOFT[:HARD]"},
}


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="barqued", description="The barque container engine.", allow_abbrev=False
    )
    parser.add_argument(
        "--config-file", dest="config-file", help=f"configuration file ({DEFAULT_CONFIG_FILE})"
    )
    parser.add_argument("--validate", action="store_true", help="check the configuration and leave")
    parser.add_argument(
        "-v", "--version", action="version", version=f"barqued version {barque.__version__}"
    )
    for flag in _FLAGS:
        parser.add_argument(*flag.names, dest=flag.key, help=flag.help, **_ARGUMENTS[flag.kind])
    return parser
