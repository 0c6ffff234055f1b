"""Seccomp profiles as docker writes them: resolved for a container, compiled once, kept.

A profile's entries may hold for some capabilities, architectures or kernels only. Resolving
one gives a plain OCI filter; compiling that takes libseccomp some tens of milliseconds, so the
result is kept under the hash of everything that went into it. The default profile is moby's
(``profiles/seccomp-default.json``, Apache-2.0).

Source: moby/profiles seccomp, runtime-spec config-linux.md "Seccomp".
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
from collections.abc import Collection
from functools import cache
from pathlib import Path

import msgspec

from barque.content.documents import decode_document
from barque.engine.defaults import ContainerDefaults
from barque.engine.facts import HostFacts
from barque.engine.security import BUILTIN, UNCONFINED, parse_security_options
from barque.errors import FailedPrecondition, InvalidArgument, NotImplementedHere
from barque.models import oci
from barque.models.api import HostConfig
from barque.models.container import ContainerRecord
from barque.runtime.seccomp import (
    COMPILER,
    compile_filter,
    libseccomp_version,
    notifies,
    plan_flags,
    plan_rules,
)

_IO_URING = ("io_uring_setup", "io_uring_enter", "io_uring_register")

_NATIVE_ARCHITECTURES = {
    "386": "SCMP_ARCH_X86",
    "amd64": "SCMP_ARCH_X86_64",
    "arm": "SCMP_ARCH_ARM",
    "arm64": "SCMP_ARCH_AARCH64",
    "loong64": "SCMP_ARCH_LOONGARCH64",
    "mips64": "SCMP_ARCH_MIPS64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "riscv64": "SCMP_ARCH_RISCV64",
    "s390x": "SCMP_ARCH_S390X",
}


class _Json(msgspec.Struct, rename="camel", kw_only=True):
    """Base: camelCase on the wire."""


class _ArchMap(_Json):
    architecture: str
    sub_architectures: list[str] | None = None


class _Filter(_Json):
    """The conditions of ``includes`` and ``excludes``."""

    caps: list[str] | None = None
    arches: list[str] | None = None
    min_kernel: str | None = None


class _Syscall(_Json):
    action: str
    name: str = ""
    names: list[str] | None = None
    errno_ret: int | None = None
    args: list[oci.SeccompArg] | None = None
    includes: _Filter | None = None
    excludes: _Filter | None = None


class Profile(_Json):
    """A profile in docker's JSON form, which is OCI's with conditions."""

    default_action: str = ""
    default_errno_ret: int | None = None
    architectures: list[str] | None = None
    arch_map: list[_ArchMap] | None = None
    flags: list[str] | None = None
    syscalls: list[_Syscall] | None = None


def parse_profile(text: str | bytes) -> Profile:
    """Parse a profile's JSON. Raises InvalidArgument."""
    try:
        profile = decode_document(text, Profile)
    except InvalidArgument as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error
    if profile.architectures and profile.arch_map:
        raise InvalidArgument(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use "
            "either 'architectures' or 'archMap'"
        )
    for entry in profile.syscalls or ():
        if entry.name and entry.names:
            raise InvalidArgument(
                "both 'name' and 'names' are specified in the seccomp profile, use either "
                "'name' or 'names'"
            )
        for condition in (entry.includes, entry.excludes):
            if condition and condition.min_kernel:
                _parse_version(condition.min_kernel)
    return profile


@cache
def default_profile() -> Profile:
    """Return moby's default profile with what barque adds to it, read once.

    Sockets of AF_ALG and AF_VSOCK fail with EPERM, as moby has decided: it is what a program
    sees that may not, where EAFNOSUPPORT would say that the machine cannot. io_uring is not
    among what moby allows; programs that find ENOSYS use something else, and EPERM makes some
    of them give up.
    """
    text = (Path(__file__).parent / "profiles" / "seccomp-default.json").read_bytes()
    profile = parse_profile(text)
    io_uring = _Syscall(action="SCMP_ACT_ERRNO", names=list(_IO_URING), errno_ret=errno.ENOSYS)
    return msgspec.structs.replace(profile, syscalls=[*(profile.syscalls or ()), io_uring])


def _parse_version(text: str) -> tuple[int, int]:
    parts = text.split(".")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise InvalidArgument(f'invalid kernel version: {text}, expected "<kernel>.<major>"')
    return int(parts[0]), int(parts[1])


def _applies(entry: _Syscall, bounding: Collection[str], facts: HostFacts) -> bool:
    """Say whether an entry holds: nothing excludes it, and all that it wants is there."""
    excludes, includes = entry.excludes, entry.includes
    if excludes and (
        facts.architecture in (excludes.arches or ())
        or any(cap in bounding for cap in excludes.caps or ())
        or (excludes.min_kernel and facts.kernel >= _parse_version(excludes.min_kernel))
    ):
        return False
    return not includes or not (
        (includes.arches and facts.architecture not in includes.arches)
        or not all(cap in bounding for cap in includes.caps or ())
        or (includes.min_kernel and facts.kernel < _parse_version(includes.min_kernel))
    )


def resolve_profile(
    profile: Profile, bounding: Collection[str], facts: HostFacts
) -> oci.Seccomp | None:
    """Resolve a profile for a bounding set on this host; None for one that filters nothing."""
    if not profile.default_action and not profile.syscalls:
        return None
    architectures = list(profile.architectures or ())
    native = _NATIVE_ARCHITECTURES.get(facts.architecture, "")
    for group in profile.arch_map or ():
        if group.architecture == native:
            architectures += [native, *(group.sub_architectures or ())]
            break
    return oci.Seccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=architectures,
        flags=list(profile.flags or ()),
        syscalls=[
            oci.Syscall(
                names=entry.names or [entry.name],
                action=entry.action,
                errno_ret=entry.errno_ret,
                args=entry.args or [],
            )
            for entry in profile.syscalls or ()
            if _applies(entry, bounding, facts)
        ],
    )


def check_profile(text: str, facts: HostFacts) -> None:
    """Check a profile that a client gave, as far as that goes without compiling it.

    Raises InvalidArgument or NotImplementedHere.
    """
    resolved = resolve_profile(parse_profile(text), (), facts)
    if resolved is not None:
        plan_rules(resolved)
        plan_flags(resolved.flags)
        if notifies(resolved):
            raise NotImplementedHere(
                "seccomp action SCMP_ACT_NOTIFY needs a listener, which the engine does not have: "
                "use another action in the profile"
            )


def select_profile(host: HostConfig, facts: HostFacts, default: str = BUILTIN) -> Profile | None:
    """Choose the profile of a container; None is unconfined. ``default`` is the engine's.

    Raises InvalidArgument for a bad one, FailedPrecondition where the kernel has no seccomp
    and a profile was asked for.
    """
    wanted = parse_security_options(host.security_opt).seccomp
    if not wanted and not host.privileged and facts.seccomp and default != BUILTIN:
        wanted = default
    if wanted == UNCONFINED or (host.privileged and not wanted):
        return None
    if not facts.seccomp:
        if wanted not in {"", BUILTIN}:
            raise FailedPrecondition(
                "seccomp is not enabled in your kernel, cannot run a custom seccomp profile"
            )
        return None
    return default_profile() if wanted in {"", BUILTIN} else parse_profile(wanted)


_Key = tuple[bool, tuple[str, ...], tuple[str, ...], tuple[str, ...]]


class SeccompProfiles:
    """Compiled filters in ``directory`` (data-root/seccomp), by the hash of what went in."""

    def __init__(
        self, directory: Path, facts: HostFacts, defaults: ContainerDefaults | None = None
    ) -> None:
        self._defaults = defaults or ContainerDefaults()
        self._directory = directory
        self._facts = facts
        self._paths: dict[_Key, str] = {}
        self._compiling = asyncio.Lock()

    async def path_for(self, record: ContainerRecord) -> str:
        """Return the host path of the container's compiled filter, "" if it runs unfiltered.

        Microseconds when such a container ran before; else compiles in a thread. Raises
        InvalidArgument, NotImplementedHere or FailedPrecondition.
        """
        host = record.host_config
        key = (
            host.privileged,
            tuple(host.security_opt or ()),
            tuple(host.cap_add or ()),
            tuple(host.cap_drop or ()),
        )
        path = self._paths.get(key)
        if path is not None:
            return path
        async with self._compiling:
            path = self._paths.get(key)
            if path is None:
                path = await asyncio.to_thread(self._compile, record)
                self._paths[key] = path
        return path

    def profile_for(self, record: ContainerRecord) -> oci.Seccomp | None:
        """Return the container's profile, None if it runs unfiltered. Raises as ``path_for``."""
        host = record.host_config
        profile = select_profile(host, self._facts, self._defaults.seccomp_profile)
        if profile is None:
            return None
        bounding = self._defaults.choose_capabilities(host)
        return resolve_profile(profile, frozenset(bounding), self._facts)

    def _compile(self, record: ContainerRecord) -> str:
        resolved = self.profile_for(record)
        if resolved is None:
            return ""
        ingredients = (
            COMPILER.encode(),
            libseccomp_version().encode(),
            self._facts.architecture.encode(),
            msgspec.json.encode(resolved),
        )
        digest = hashlib.sha256(b"\0".join(ingredients)).hexdigest()
        path = self._directory / f"{digest}.bpf"
        if not path.exists():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_atomically(path, compile_filter(resolved))
        return str(path)


def _write_atomically(path: Path, content: bytes) -> None:
    """Write the whole file or nothing, also when the machine crashes."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
