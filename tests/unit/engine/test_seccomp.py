from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from barque.engine.seccomp import (
    SeccompProfiles,
    check_profile,
    default_profile,
    parse_profile,
    resolve_profile,
    select_profile,
)
from barque.errors import FailedPrecondition, InvalidArgument, NotImplementedHere
from barque.models import oci
from barque.models.api import HostConfig
from barque.runtime.capabilities import DEFAULT
from support.spec import make_facts, make_record


def names(resolved: oci.Seccomp | None, action: str = "SCMP_ACT_ALLOW") -> set[str]:
    assert resolved is not None
    return {n for entry in resolved.syscalls if entry.action == action for n in entry.names}


def test_the_default_profile_for_dockers_capabilities() -> None:
    resolved = resolve_profile(default_profile(), DEFAULT, make_facts())
    assert resolved is not None
    assert resolved.default_action == "SCMP_ACT_ERRNO"
    assert resolved.default_errno_ret == 1
    assert resolved.architectures == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    allowed = names(resolved)
    assert {"read", "chroot", "ptrace", "arch_prctl", "clone"} <= allowed
    assert not {"mount", "bpf", "reboot", "syslog", "clone3"} & allowed
    unknown = {"clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"}
    assert names(resolved, "SCMP_ACT_ERRNO") == unknown, "programs use something else then"


@pytest.mark.parametrize(
    ("capability", "opens"),
    [
        ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_SYS_TIME", "settimeofday"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_BPF", "bpf"),
    ],
)
def test_a_capability_opens_its_calls(capability: str, opens: str) -> None:
    facts = make_facts()
    assert opens not in names(resolve_profile(default_profile(), DEFAULT, facts))
    assert opens in names(resolve_profile(default_profile(), [*DEFAULT, capability], facts))


def test_architectures_and_kernels_decide() -> None:
    old = resolve_profile(default_profile(), DEFAULT, make_facts(kernel=(4, 4)))
    assert "ptrace" not in names(old)
    arm = resolve_profile(default_profile(), DEFAULT, make_facts(architecture="arm64"))
    assert arm is not None
    assert arm.architectures == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert "cacheflush" in names(arm)
    assert "arch_prctl" not in names(arm)


def test_excludes() -> None:
    profile = parse_profile(
        """{"defaultAction": "SCMP_ACT_KILL", "syscalls": [
        {"name": "a", "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "5.0"}},
        {"names": ["b"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["c"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_CHOWN"]}},
        {"names": ["d"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "excludes": {}}
        ]}"""
    )
    assert names(resolve_profile(profile, DEFAULT, make_facts())) == {"d"}
    other = make_facts(kernel=(4, 20), architecture="riscv64")
    assert names(resolve_profile(profile, [], other)) == {"a", "b", "c", "d"}


def test_an_empty_profile_filters_nothing() -> None:
    assert resolve_profile(parse_profile("{}"), DEFAULT, make_facts()) is None


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        (HostConfig(), "default"),
        (HostConfig(security_opt=["seccomp=builtin"]), "default"),
        (HostConfig(security_opt=["seccomp=unconfined"]), "none"),
        (HostConfig(privileged=True), "none"),
        (HostConfig(privileged=True, security_opt=["seccomp=builtin"]), "default"),
        (HostConfig(security_opt=['seccomp={"defaultAction":"SCMP_ACT_LOG"}']), "own"),
    ],
)
def test_which_profile(host: HostConfig, kind: str) -> None:
    profile = select_profile(host, make_facts())
    match kind:
        case "default":
            assert profile is default_profile()
        case "none":
            assert profile is None
        case _:
            assert profile is not None
            assert profile.default_action == "SCMP_ACT_LOG"


def test_a_kernel_without_seccomp() -> None:
    facts = make_facts(seccomp=False)
    assert select_profile(HostConfig(), facts) is None
    with pytest.raises(FailedPrecondition, match="cannot run a custom seccomp profile"):
        select_profile(HostConfig(security_opt=["seccomp={}"]), facts)


def paths_for(directory: Path, *hosts: HostConfig) -> list[str]:
    """Ask a new engine for the filters of some containers at once."""

    async def ask() -> list[str]:
        profiles = SeccompProfiles(directory, make_facts())
        return await asyncio.gather(*(profiles.path_for(make_record(host=h)) for h in hosts))

    return asyncio.run(ask())


def test_filters_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "seccomp"
    first, *others = paths_for(directory, *[HostConfig()] * 4)
    path = Path(first)
    assert set(others) == {first}
    assert path.stat().st_size % 8 == 0
    assert list(directory.iterdir()) == [path]

    path.write_bytes(b"kept")
    assert paths_for(directory, HostConfig()) == [first]
    assert path.read_bytes() == b"kept"


def test_other_containers_have_other_filters(tmp_path: Path) -> None:
    plain, more, free = paths_for(
        tmp_path, HostConfig(), HostConfig(cap_add=["SYS_ADMIN"]), HostConfig(privileged=True)
    )
    assert Path(plain).parent == Path(more).parent == tmp_path
    assert plain != more
    assert free == ""


def test_a_failed_compilation_leaves_nothing(tmp_path: Path) -> None:
    profile = '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_PDP11"]}'
    with pytest.raises(InvalidArgument, match="SCMP_ARCH_PDP11"):
        paths_for(tmp_path, HostConfig(security_opt=[f"seccomp={profile}"]))
    assert list(tmp_path.iterdir()) == []


def test_a_listener_is_refused() -> None:
    text = (
        '{"defaultAction": "SCMP_ACT_ALLOW",'
        ' "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}'
    )
    with pytest.raises(NotImplementedHere, match="listener"):
        check_profile(text, make_facts())


def test_profiles_that_are_nested_too_deeply_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"Decoding seccomp profile failed: .*too deeply"):
        parse_profile(b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
