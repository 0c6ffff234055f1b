from __future__ import annotations

from typing import Any

import pytest

from barque.engine.facts import CgroupFacts
from barque.engine.validate import fill_defaults, normal_sysctl, validate
from barque.errors import InvalidArgument, NotFound, NotImplementedHere
from barque.models.api import (
    ContainerConfig,
    DeviceMapping,
    HostConfig,
    LogConfig,
    Mount,
    RestartPolicy,
    ThrottleDevice,
    Ulimit,
)
from barque.models.image import Healthcheck
from barque.runtime import capabilities
from support.spec import make_facts


def check(
    config: dict[str, Any] | None = None, host: dict[str, Any] | None = None, **facts: Any
) -> list[str]:
    return validate(
        ContainerConfig(**(config or {})), HostConfig(**(host or {})), make_facts(**facts)
    )


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            {"hostname": "x" * 65},
            f'hostname "{"x" * 65}" is too long (maximum 64 bytes)',
        ),
        (
            {"working_dir": "tmp"},
            "the working directory 'tmp' is invalid, it needs to be an absolute path",
        ),
        ({"stop_signal": "SIGFOO"}, "invalid signal: SIGFOO"),
        ({"env": ["=x"]}, "invalid environment variable: =x"),
        ({"env": [""]}, "invalid environment variable: "),
        ({"env": ["A=\0"]}, "invalid environment variable: 'A' contains a NUL character"),
        (
            {"healthcheck": Healthcheck(interval=1)},
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (
            {"healthcheck": Healthcheck(retries=-1)},
            "Retries in Healthcheck cannot be negative",
        ),
    ],
)
def test_bad_configs(config: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(config)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (
            {"auto_remove": True, "restart_policy": RestartPolicy(name="always")},
            "can't create 'AutoRemove' container with restart policy",
        ),
        (
            {"restart_policy": RestartPolicy(name="never")},
            (
                "invalid restart policy: unknown policy 'never'; use one of 'no', 'always', "
                "'on-failure', or 'unless-stopped'"
            ),
        ),
        (
            {"restart_policy": RestartPolicy(name="always", maximum_retry_count=2)},
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            {"restart_policy": RestartPolicy(name="no", maximum_retry_count=-2)},
            (
                "invalid restart policy: maximum retry count can only be used with 'on-failure' "
                "and cannot be negative"
            ),
        ),
        (
            {"restart_policy": RestartPolicy(name="on-failure", maximum_retry_count=-1)},
            "invalid restart policy: maximum retry count cannot be negative",
        ),
        ({"ipc_mode": "shared"}, "invalid IPC mode: shared"),
        ({"ipc_mode": "container:"}, "invalid IPC mode: container:"),
        ({"pid_mode": "container:"}, "invalid PID mode: container:"),
        ({"uts_mode": "private"}, "invalid UTS mode: private"),
        ({"cgroupns_mode": "x"}, "invalid cgroup namespace mode: x"),
        ({"isolation": "hyperv"}, "invalid isolation 'hyperv' on linux"),
        (
            {"device_requests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]},
            'could not select device driver "" with capabilities: [[gpu]]',
        ),
        (
            {"device_requests": [{"Driver": "n", "Capabilities": [["gpu", "compute"], ["x"]]}]},
            'could not select device driver "n" with capabilities: [[gpu compute] [x]]',
        ),
        ({"shm_size": -1}, "SHM size can not be less than 0"),
        (
            {"oom_score_adj": 1001},
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
        (
            {"annotations": {"": "x"}},
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ),
        ({"cap_add": ["FLY"]}, 'invalid CapAdd: unknown capability: "CAP_FLY"'),
        ({"cap_drop": ["FLY"]}, 'invalid CapDrop: unknown capability: "CAP_FLY"'),
        ({"memory": 1}, "Minimum memory limit allowed is 6MB"),
        ({"security_opt": ["x"]}, 'invalid --security-opt 1: "x"'),
        (
            {"network_mode": "container:"},
            "invalid network mode: invalid container format container:<name|id>",
        ),
        (
            {"network_mode": "container:a", "dns": ["1.1.1.1"]},
            "conflicting options: dns and the network mode",
        ),
        (
            {"network_mode": "container:a", "publish_all_ports": True},
            "conflicting options: port publishing and the container type network mode",
        ),
        ({"extra_hosts": ["nowhere"]}, 'bad format for add-host: "nowhere"'),
        ({"extra_hosts": ["a b:1.2.3.4"]}, 'bad format for add-host: "a b:1.2.3.4"'),
        ({"extra_hosts": ["a\nb:1.2.3.4"]}, 'bad format for add-host: "a\nb:1.2.3.4"'),
        ({"extra_hosts": ["a:b"]}, 'invalid IP address in add-host: "b"'),
        (
            {"sysctls": {"kernel.core_pattern": "x"}},
            'sysctl "kernel.core_pattern" is not in a separate kernel namespace',
        ),
        (
            {"sysctls": {"kernel/core_pattern": "x"}},
            'sysctl "kernel.core_pattern" is not in a separate kernel namespace',
        ),
        (
            {"sysctls": {"net.ipv4.ip_forward": "1"}, "network_mode": "host"},
            'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
        ),
        (
            {"sysctls": {"kernel.msgmax": "1"}, "ipc_mode": "host"},
            'sysctl "kernel.msgmax" is not allowed in the hosts ipc namespace',
        ),
        (
            {"sysctls": {"kernel.hostname": "x"}},
            'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field',
        ),
        ({"ulimits": [Ulimit(name="as", soft=1, hard=1)]}, "invalid ulimit type: as"),
        (
            {"ulimits": [Ulimit(name="nofile", soft=2, hard=1)]},
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
        ),
        (
            {"ulimits": [Ulimit(name="nofile", soft=-1, hard=1)]},
            (
                "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), "
                "hard: 1"
            ),
        ),
        (
            {"devices": [DeviceMapping(path_on_host="/dev/nope")]},
            (
                'error gathering device information while adding custom device "/dev/nope": '
                "no such file or directory"
            ),
        ),
        ({"device_cgroup_rules": ["x"]}, "invalid device cgroup rule format: 'x'"),
        (
            {"blkio_device_read_bps": [ThrottleDevice(path="/dev/nope", rate=1)]},
            "stat /dev/nope: no such file or directory",
        ),
        ({"tmpfs": {"/": ""}}, "invalid specification: destination can't be '/'"),
        ({"tmpfs": {"run": ""}}, "invalid mount path: 'run' mount path must be absolute"),
        ({"tmpfs": {"/run": "fast"}}, 'Invalid tmpfs option ["fast"]'),
        ({"binds": ["/a:/b:fast"]}, "invalid mode: fast"),
        (
            {"log_config": LogConfig(type="json-file", config={"max-file": "0"})},
            "max-file cannot be less than 1",
        ),
    ],
)
def test_bad_host_configs(host: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(host=host)
    assert str(caught.value) == text


def test_conflicts_with_a_host_name() -> None:
    for host, text in (
        ({"uts_mode": "host"}, "conflicting options: hostname and the UTS mode"),
        ({"network_mode": "container:a"}, "conflicting options: hostname and the network mode"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            check({"hostname": "a"}, host)
        assert str(caught.value) == text


@pytest.mark.parametrize(
    ("host", "word"),
    [
        ({"storage_opt": {"size": "1g"}}, "storage"),
        ({"log_config": LogConfig(type="syslog")}, "syslog"),
        ({"mounts": [Mount(type="image", source="a", target="/x")]}, "image"),
    ],
)
def test_what_docker_can_and_barque_cannot_names_itself(host: dict[str, Any], word: str) -> None:
    with pytest.raises(NotImplementedHere, match=word):
        check(host=host)


def test_a_volume_driver_must_be_there() -> None:
    with pytest.raises(NotFound, match='plugin "glue" not found'):
        check(host={"binds": ["a1:/b"], "volume_driver": "glue"})


@pytest.mark.parametrize(
    "host",
    [
        {},
        {"ipc_mode": "container:a", "pid_mode": "container:a", "cgroupns_mode": "host"},
        {"userns_mode": "host", "uts_mode": "host", "runtime": "runc", "isolation": "default"},
        {"extra_hosts": ["a:1.2.3.4", "b=::1", "c:::1", "d:host-gateway", "e:[::1]"]},
        {"sysctls": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "1", "fs.mqueue.msg_max": "9"}},
        {"sysctls": {"net.core.somaxconn": "1"}, "network_mode": "container:a"},
        {"ulimits": [Ulimit(name="memlock", soft=-1, hard=-1)]},
        {"restart_policy": RestartPolicy(name="on-failure", maximum_retry_count=3)},
        {"security_opt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"]},
        {"security_opt": ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']},
        {"cap_add": ["ALL", "sys_admin"], "cap_drop": ["all"]},
        {"tmpfs": {"/run": "size=1m,exec"}},
    ],
)
def test_good_host_configs(host: dict[str, Any]) -> None:
    assert check(host=host) == []


def test_a_working_directory_is_cleaned() -> None:
    config = ContainerConfig(working_dir="//srv/./a/../b/")
    validate(config, HostConfig(), make_facts())
    assert config.working_dir == "/srv/b"


def test_a_capability_that_the_engine_lacks_gives_a_warning() -> None:
    some = frozenset(capabilities.NAMES) - {"CAP_SYS_RESOURCE"}
    (warning,) = check(host={"cap_add": ["sys_resource", "ALL"]}, capabilities=some)
    assert "CAP_SYS_RESOURCE" in warning


def test_published_ports_of_the_host_network_give_a_warning() -> None:
    assert check(host={"network_mode": "host", "port_bindings": {"80/tcp": None}}) == [
        "Published ports are discarded when using host network mode"
    ]


def test_more_open_files_than_the_machine_permits() -> None:
    for hard in (-1, 30_000):
        limit = Ulimit(name="nofile", soft=10, hard=hard)
        (warning,) = check(host={"ulimits": [limit]}, max_open_files=20_000)
        assert "can give 20000 on this machine" in warning
    assert check(host={"ulimits": [Ulimit(name="nofile", soft=1, hard=2)]}) == []


def test_security_modules_that_the_host_has_not() -> None:
    with pytest.raises(InvalidArgument, match="AppArmor is not enabled on this host"):
        check(host={"security_opt": ["apparmor=strict"]})
    assert check(host={"security_opt": ["apparmor=strict"]}, apparmor=True) == []
    with pytest.raises(InvalidArgument, match="SELinux is not enabled on this host"):
        check(host={"security_opt": ["label=type:x"]})
    with pytest.raises(NotImplementedHere, match="SELinux option"):
        check(host={"security_opt": ["label=type:x"]}, selinux=True)


@pytest.mark.parametrize(
    "profile",
    [
        "{",
        '{"syscalls": [{"names": ["a"], "name": "b", "action": "SCMP_ACT_ALLOW"}]}',
        '{"architectures": ["a"], "archMap": [{"architecture": "b"}]}',
        '{"defaultAction": "SCMP_ACT_DANCE"}',
        '{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["FAST"]}',
    ],
)
def test_a_bad_seccomp_profile_is_found_at_create(profile: str) -> None:
    with pytest.raises(InvalidArgument):
        check(host={"security_opt": [f"seccomp={profile}"]})


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv4/conf/eth0.100/forwarding", "net.ipv4.conf.eth0/100.forwarding"),
        ("net.ipv4.conf.eth0/100.forwarding", "net.ipv4.conf.eth0/100.forwarding"),
    ],
)
def test_sysctls_are_written_with_dots(given: str, normal: str) -> None:
    assert normal_sysctl(given) == normal


def test_defaults() -> None:
    facts = make_facts(masked_paths=("/proc/kcore",))
    host = fill_defaults(HostConfig(memory=8 << 20), facts)
    assert host.network_mode == "bridge"
    assert host.restart_policy.name == "no"
    assert host.log_config == LogConfig(type="json-file", config={})
    assert host.memory_swap == 16 << 20
    assert host.shm_size == 64 << 20
    assert host.ipc_mode == "private"
    assert host.cgroupns_mode == "private"
    assert host.masked_paths == ["/proc/kcore"]
    assert host.readonly_paths is not None
    assert "/proc/sys" in host.readonly_paths
    assert host.security_opt is None
    assert host.runtime == "runc"
    assert host.console_size == [0, 0]


def test_defaults_leave_alone_what_was_given() -> None:
    given = HostConfig(
        network_mode="none",
        shm_size=1,
        ipc_mode="none",
        cgroupns_mode="host",
        masked_paths=[],
        readonly_paths=[],
        memory=8 << 20,
        memory_swap=-1,
    )
    host = fill_defaults(given, make_facts())
    assert (host.network_mode, host.shm_size, host.ipc_mode) == ("none", 1, "none")
    assert (host.masked_paths, host.readonly_paths) == ([], [])
    assert (host.cgroupns_mode, host.memory_swap) == ("host", -1)


@pytest.mark.parametrize(("version", "mode"), [(1, "host"), (2, "private")])
def test_privileged_defaults(version: int, mode: str) -> None:
    facts = make_facts(cgroups=CgroupFacts(version=version))
    host = fill_defaults(HostConfig(privileged=True), facts)
    assert host.masked_paths is None
    assert host.readonly_paths is None
    assert host.security_opt == ["label=disable"]
    assert host.cgroupns_mode == mode


@pytest.mark.parametrize(
    ("options", "masked", "readonly"),
    [
        (["systempaths=unconfined"], [], []),
        (["unmask=ALL"], [], []),
        (["unmask=/proc/sys:/proc/a*"], ["/proc/kcore", "/sys/firmware"], 4),
        (["mask=/srv:/opt/"], ["/proc/acpi", "/proc/kcore", "/sys/firmware", "/srv", "/opt"], 5),
        (["unmask=/sys/*", "mask=/srv"], ["/proc/acpi", "/proc/kcore", "/srv"], 5),
        (["unmask=/*"], ["/proc/acpi", "/proc/kcore", "/sys/firmware"], 5),
    ],
)
def test_paths_that_are_masked(
    options: list[str], masked: list[str], readonly: int | list[str]
) -> None:
    facts = make_facts(masked_paths=("/proc/acpi", "/proc/kcore", "/sys/firmware"))
    host = fill_defaults(HostConfig(security_opt=options), facts)
    assert host.masked_paths == masked
    assert host.readonly_paths is not None
    expected = readonly if isinstance(readonly, int) else len(readonly)
    assert len(host.readonly_paths) == expected


def test_a_privileged_container_may_mask_paths() -> None:
    host = fill_defaults(HostConfig(privileged=True, security_opt=["mask=/srv"]), make_facts())
    assert (host.masked_paths, host.readonly_paths) == (["/srv"], None)


def test_a_device_defaults_to_its_own_path() -> None:
    host = HostConfig(devices=[DeviceMapping(path_on_host="/dev/null", cgroup_permissions="")])
    fill_defaults(host, make_facts())
    assert host.devices == [
        DeviceMapping(
            path_on_host="/dev/null", path_in_container="/dev/null", cgroup_permissions="rwm"
        )
    ]
