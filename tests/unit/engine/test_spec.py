from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest

from barque.engine.defaults import DEFAULT_PIDS_LIMIT, ContainerDefaults, own_ulimits
from barque.engine.spec import (
    DEFAULT_PATH,
    build_exec,
    build_launch,
    cgroups_path,
    environment,
)
from barque.engine.validate import fill_defaults
from barque.errors import InvalidArgument
from barque.models import oci
from barque.models.api import ContainerConfig, DeviceMapping, HostConfig, Ulimit
from barque.models.container import ContainerRecord, ExecRecord, MountPoint
from barque.models.idmap import IdMap
from barque.models.ids import ContainerId, ExecId
from barque.models.launch import ContainerLaunch, CopyUp, RootfsMount, UserNames
from barque.runtime.capabilities import DEFAULT, known
from support.spec import make_facts, make_record


class Places(TypedDict):
    """Where the things of an exec are, and what is allowed where nobody says otherwise."""

    seccomp_path: str
    cgroups_path: str
    defaults: ContainerDefaults


PLACES = Places(seccomp_path="/f", cgroups_path="/g", defaults=ContainerDefaults())


def launch(
    config: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    *,
    joins: dict[str, int] | None = None,
    ids: IdMap | None = None,
    defaults: ContainerDefaults | None = None,
    **record: Any,
) -> ContainerLaunch:
    facts = make_facts()
    values = {"hostname": "box", **(config or {})}
    made = make_record(
        ContainerConfig(**values), fill_defaults(HostConfig(**(host or {})), facts), **record
    )
    return build_launch(
        msgspec.structs.replace(made, ids=ids),
        rootfs=RootfsMount(type="overlay", lower=["/l"]),
        files=Path("/data/c"),
        interfaces=[],
        joins=joins or {},
        propagation="",
        seccomp_path="/data/s.bpf",
        facts=facts,
        defaults=defaults or ContainerDefaults(),
        cgroups_path="/barque/c",
    )


def process(made: ContainerLaunch) -> oci.Process:
    assert made.spec.process is not None
    return made.spec.process


def mounts(made: ContainerLaunch) -> dict[str, oci.Mount]:
    found = {mount.destination: mount for mount in made.spec.mounts}
    assert len(found) == len(made.spec.mounts)
    return found


@pytest.mark.parametrize(
    ("env", "tty", "extra", "expected"),
    [
        (None, False, [], [f"PATH={DEFAULT_PATH}", "HOSTNAME=box"]),
        (None, True, [], [f"PATH={DEFAULT_PATH}", "HOSTNAME=box", "TERM=xterm"]),
        (["PATH=/x", "TERM=vt100"], True, [], ["PATH=/x", "HOSTNAME=box", "TERM=vt100"]),
        (["=x"], False, [], [f"PATH={DEFAULT_PATH}", "HOSTNAME=box"]),
        (["HOSTNAME"], False, [], [f"PATH={DEFAULT_PATH}"]),
        (["A=1=2"], False, ["A=3", "B="], [f"PATH={DEFAULT_PATH}", "HOSTNAME=box", "A=3", "B="]),
    ],
)
def test_environment(
    env: list[str] | None, tty: bool, extra: list[str], expected: list[str]
) -> None:
    config = ContainerConfig(hostname="box", env=env)
    assert environment(config, tty=tty, extra=extra) == expected


def test_a_plain_container() -> None:
    made = launch()
    own = process(made)
    assert own.args == ["true", "-x"]
    assert own.cwd == "/"
    assert own.oom_score_adj == 0
    assert not own.no_new_privileges
    assert own.capabilities is not None
    assert own.capabilities.bounding == list(DEFAULT)
    assert own.capabilities.effective == own.capabilities.permitted == list(DEFAULT)
    assert own.capabilities.inheritable == own.capabilities.ambient == []
    assert [m.destination for m in made.spec.mounts] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/dev/shm",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/hosts",
    ]
    assert "size=67108864" in mounts(made)["/dev/shm"].options
    assert "ro" in mounts(made)["/sys"].options
    assert "ro" in mounts(made)["/sys/fs/cgroup"].options
    assert mounts(made)["/etc/hosts"].source == "/data/c/hosts"
    linux = made.spec.linux
    assert {n.type for n in linux.namespaces} == {
        "mount",
        "network",
        "uts",
        "pid",
        "ipc",
        "cgroup",
    }
    assert linux.cgroups_path == "/barque/c"
    assert linux.sysctl == {"net.ipv4.ip_unprivileged_port_start": "0"}
    assert "/proc/kcore" in linux.masked_paths
    assert "/proc/sys" in linux.readonly_paths
    assert linux.resources is not None
    assert linux.resources.devices[0] == oci.DeviceRule(allow=False)
    assert linux.resources.memory is None
    assert linux.resources.cpu is None
    assert linux.resources.pids == oci.Pids(limit=DEFAULT_PIDS_LIMIT)
    assert made.spec.hostname == "box"
    assert made.seccomp_path == "/data/s.bpf"
    assert made.names == UserNames()
    assert not made.init
    assert not made.host_devices


@pytest.mark.parametrize(
    ("host", "limit"),
    [({}, 77), ({"pids_limit": 0}, 77), ({"pids_limit": 9}, 9), ({"pids_limit": -1}, None)],
)
def test_processes_are_limited_unless_somebody_says_otherwise(
    host: dict[str, Any], limit: int | None
) -> None:
    made = launch(host=host, defaults=ContainerDefaults(pids_limit=77)).spec.linux.resources
    assert made is not None
    assert made.pids == (oci.Pids(limit=limit) if limit else None)


def test_what_the_engine_allows_by_default() -> None:
    defaults = ContainerDefaults(
        capabilities=("CAP_CHOWN", "CAP_NET_RAW"),
        ulimits=own_ulimits(20_000),
        no_new_privileges=True,
    )
    host = {"cap_drop": ["CHOWN"], "cap_add": ["KILL"]}
    own = process(launch(host=host, defaults=defaults))
    assert own.capabilities is not None
    assert own.capabilities.bounding == ["CAP_NET_RAW", "CAP_KILL"]
    assert own.capabilities.inheritable == own.capabilities.ambient == []
    assert own.no_new_privileges
    assert own.rlimits == [
        oci.Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=20_000),
        oci.Rlimit(type="RLIMIT_CORE", soft=0, hard=0),
    ]
    asked = {
        "security_opt": ["no-new-privileges=false"],
        "ulimits": [Ulimit(name="core", soft=-1, hard=-1)],
    }
    own = process(launch(host=asked, defaults=defaults))
    assert not own.no_new_privileges
    assert [limit.type for limit in own.rlimits] == ["RLIMIT_CORE", "RLIMIT_NOFILE"]
    assert own.rlimits[0].hard == 2**64 - 1
    assert own.rlimits[1].hard == 20_000


def test_a_profile_of_apparmor_is_passed_on() -> None:
    strict = launch(host={"security_opt": ["apparmor=strict"]})
    assert process(strict).apparmor_profile == "strict"
    assert process(launch(host={"security_opt": ["apparmor=unconfined"]})).apparmor_profile == ""


def test_a_document_survives_the_wire() -> None:
    made = launch({"tty": True}, {"memory": 8 << 20, "privileged": True})
    assert msgspec.json.decode(msgspec.json.encode(made), type=ContainerLaunch) == made


def test_options_of_the_process() -> None:
    made = launch(
        {"user": "app:users", "working_dir": "/srv", "tty": True, "env": ["A=b"]},
        {
            "cap_add": ["sys_time"],
            "cap_drop": ["CHOWN"],
            "group_add": ["audio"],
            "security_opt": ["no-new-privileges"],
            "ulimits": [
                Ulimit(name="nofile", soft=10, hard=20),
                Ulimit(name="core", soft=-1, hard=-1),
            ],
            "oom_score_adj": 500,
            "init": True,
        },
    )
    own = process(made)
    assert made.names == UserNames(user="app:users", groups=["audio"])
    assert own.cwd == "/srv"
    assert own.terminal
    assert "TERM=xterm" in own.env
    assert own.no_new_privileges
    assert own.oom_score_adj == 500
    assert own.rlimits == [
        oci.Rlimit(type="RLIMIT_NOFILE", soft=10, hard=20),
        oci.Rlimit(type="RLIMIT_CORE", soft=2**64 - 1, hard=2**64 - 1),
    ]
    assert own.capabilities is not None
    assert "CAP_SYS_TIME" in own.capabilities.bounding
    assert "CAP_CHOWN" not in own.capabilities.bounding
    assert made.init


def test_a_relative_working_directory_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="working directory 'srv' is invalid"):
        launch({"working_dir": "srv"})
    with pytest.raises(InvalidArgument, match="working directory 'srv' is invalid"):
        build_exec(container(), exec_record(working_dir="srv"), **PLACES)


def test_a_privileged_container() -> None:
    made = launch(host={"privileged": True})
    assert made.host_devices
    capabilities = process(made).capabilities
    assert capabilities is not None
    assert capabilities.bounding == list(known())
    assert "ro" not in mounts(made)["/sys"].options
    assert "ro" not in mounts(made)["/sys/fs/cgroup"].options
    assert made.spec.linux.masked_paths == made.spec.linux.readonly_paths == []
    assert made.spec.linux.resources is not None
    assert made.spec.linux.resources.devices == [oci.DeviceRule(allow=True)]


@pytest.mark.parametrize(
    ("host", "missing"),
    [
        ({"network_mode": "host"}, "network"),
        ({"uts_mode": "host"}, "uts"),
        ({"pid_mode": "host"}, "pid"),
        ({"ipc_mode": "host"}, "ipc"),
        ({"cgroupns_mode": "host"}, "cgroup"),
    ],
)
def test_namespaces_of_the_host(host: dict[str, Any], missing: str) -> None:
    types = {namespace.type for namespace in launch(host=host).spec.linux.namespaces}
    assert {"mount", "network", "uts", "pid", "ipc", "cgroup"} - types == {missing}


def test_what_goes_with_the_hosts_namespaces() -> None:
    assert launch(host={"network_mode": "host"}).spec.linux.sysctl == {}
    assert launch({"domainname": "x"}, {"uts_mode": "host"}).spec.hostname == ""
    shm = mounts(launch(host={"ipc_mode": "host"}))["/dev/shm"]
    assert (shm.type, shm.source) == ("bind", "/dev/shm")
    assert "/dev/shm" not in mounts(launch(host={"ipc_mode": "none"}))
    assert not launch(host={"pid_mode": "host", "init": True}).init


def test_namespaces_of_another_container() -> None:
    made = launch(
        host={"network_mode": "container:other", "pid_mode": "container:other", "init": True},
        joins={"network": 0, "pid": 1},
    )
    assert made.joins == {"network": 0, "pid": 1}
    assert {"network", "pid"} <= {n.type for n in made.spec.linux.namespaces}
    assert made.spec.linux.sysctl == {}
    assert not made.init


def test_sysctls_of_the_user_win() -> None:
    made = launch(
        host={"sysctls": {"net/ipv4/ip_unprivileged_port_start": "80", "kernel.msgmax": "9"}}
    )
    assert made.spec.linux.sysctl == {
        "net.ipv4.ip_unprivileged_port_start": "80",
        "kernel.msgmax": "9",
    }


def test_mounts_of_the_user() -> None:
    made = launch(
        host={"tmpfs": {"/run/": "size=1m"}, "readonly_rootfs": True},
        mounts=[
            MountPoint(type="bind", source="/h/deep", destination="/a/b/c", rw=False),
            MountPoint(type="bind", source="/h", destination="/a", propagation="rprivate"),
            MountPoint(
                type="bind",
                source="/h",
                destination="/n",
                rw=False,
                recursive=False,
            ),
            MountPoint(
                type="bind", source="/h", destination="/o", rw=False, recursive_readonly=False
            ),
            MountPoint(type="tmpfs", source="", destination="/t", options=["ro", "mode=700"]),
            MountPoint(type="bind", source="/mine", destination="/etc/hosts"),
        ],
    )
    found = mounts(made)
    order = list(found)
    assert order.index("/a") < order.index("/a/b/c")
    assert found["/a"].options == ["rbind", "rprivate"]
    assert found["/a/b/c"].options == ["rbind", "rro", "rprivate"]
    assert found["/n"].options == ["bind", "ro", "rprivate"]
    assert found["/o"].options == ["rbind", "ro", "rprivate"]
    assert found["/t"].options == ["noexec", "nosuid", "nodev", "rprivate", "ro", "mode=700"]
    assert "size=1m" in found["/run"].options
    assert found["/etc/hosts"].source == "/mine"
    assert "ro" in found["/etc/hostname"].options
    assert made.spec.root.readonly


def test_a_mount_on_dev_takes_all_of_it() -> None:
    made = launch(mounts=[MountPoint(type="bind", source="/dev", destination="/dev")])
    assert [d for d in mounts(made) if d.startswith("/dev")] == ["/dev"]
    replaced = launch(mounts=[MountPoint(type="bind", source="/s", destination="/sys/fs/cgroup")])
    assert mounts(replaced)["/sys/fs/cgroup"].type == "bind"


def test_volumes_are_filled_at_the_first_start() -> None:
    volume = MountPoint(
        type="volume", source="/vol/v/_data", destination="/data", name="v", copy_up=True
    )
    assert launch(mounts=[volume]).copy_ups == [CopyUp(source="/data", target="/vol/v/_data")]
    assert launch(mounts=[volume], started_once=True).copy_ups == []


def test_devices() -> None:
    mapping = DeviceMapping(
        path_on_host="/dev/zero", path_in_container="/dev/nothing", cgroup_permissions="r"
    )
    made = launch(host={"devices": [mapping], "device_cgroup_rules": ["c 10:* rwm"]})
    (device,) = made.spec.linux.devices
    assert (device.path, device.major, device.minor) == ("/dev/nothing", 1, 5)
    assert made.spec.linux.resources is not None
    assert made.spec.linux.resources.devices[-2:] == [
        oci.DeviceRule(allow=True, type="c", major=1, minor=5, access="r"),
        oci.DeviceRule(allow=True, type="c", major=10),
    ]
    same = DeviceMapping(path_on_host="/dev/zero", path_in_container="/dev/zero")
    assert launch(host={"devices": [same], "privileged": True}).spec.linux.devices == []
    assert len(launch(host={"devices": [mapping], "privileged": True}).spec.linux.devices) == 1


def test_a_device_that_has_gone_is_told_at_start() -> None:
    with pytest.raises(InvalidArgument, match="/dev/gone"):
        launch(host={"devices": [DeviceMapping(path_on_host="/dev/gone")]})


@pytest.mark.parametrize(
    ("parent", "path"),
    [
        ("", "/barque/c1"),
        ("/mine", "/mine/c1"),
        ("mine/", "/mine/c1"),
        ("../../etc", "/etc/c1"),
    ],
)
def test_cgroup_paths(parent: str, path: str) -> None:
    assert cgroups_path(HostConfig(cgroup_parent=parent), ContainerId("c1")) == path


# -- exec ----------------------------------------------------------------------------------


def exec_record(**values: Any) -> ExecRecord:
    base = {
        "id": ExecId("e" * 64),
        "container_id": ContainerId("c" * 64),
        "cmd": ["id"],
        "env": [],
    }
    return ExecRecord(**{**base, **values})


def container() -> ContainerRecord:
    return make_record(
        ContainerConfig(hostname="box", user="app", working_dir="/srv", env=["A=1", "B=1"]),
        HostConfig(
            group_add=["audio"],
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ulimits=[Ulimit(name="nofile", soft=1, hard=2)],
            oom_score_adj=7,
        ),
    )


def test_an_exec_is_like_the_container() -> None:
    made = build_exec(container(), exec_record(), **PLACES)
    assert made.process.args == ["id"]
    assert made.process.cwd == "/srv"
    assert made.process.env == [f"PATH={DEFAULT_PATH}", "HOSTNAME=box", "A=1", "B=1"]
    assert made.process.capabilities == oci.Capabilities()
    assert made.process.no_new_privileges
    assert made.process.oom_score_adj == 7
    assert made.process.rlimits == [oci.Rlimit(type="RLIMIT_NOFILE", soft=1, hard=2)]
    assert made.names == UserNames(user="app", groups=["audio"])
    assert (made.seccomp_path, made.cgroups_path) == ("/f", "/g")


def test_an_exec_of_its_own_kind() -> None:
    made = build_exec(
        container(),
        exec_record(user="root", working_dir="/x", env=["A=2"], tty=True, privileged=True),
        **PLACES,
    )
    assert made.process.cwd == "/x"
    assert made.process.terminal
    assert made.process.env == [
        f"PATH={DEFAULT_PATH}",
        "HOSTNAME=box",
        "TERM=xterm",
        "A=2",
        "B=1",
    ]
    assert made.names is not None
    assert made.names.user == "root"
    assert made.process.capabilities is not None
    assert made.process.capabilities.bounding == list(known())
    plain = build_exec(container(), exec_record(), **PLACES)
    assert plain.process.capabilities == oci.Capabilities()


MAPPING = [oci.IdMapping(container_id=0, host_id=100000, size=65536)]
IDS = IdMap(uids=MAPPING, gids=MAPPING)


def namespaces(made: ContainerLaunch) -> set[str]:
    return {namespace.type for namespace in made.spec.linux.namespaces}


def test_a_user_namespace() -> None:
    assert "user" not in namespaces(launch())
    made = launch(ids=IDS)
    assert "user" in namespaces(made)
    assert (made.spec.linux.uid_mappings, made.spec.linux.gid_mappings) == (MAPPING, MAPPING)


def test_what_is_mapped() -> None:
    points = [
        MountPoint(type="volume", source="/v/a/_data", destination="/volume", name="a"),
        MountPoint(type="bind", source="/b", destination="/bind"),
        MountPoint(type="bind", source="/b", destination="/mapped", idmap=True),
    ]
    inside = mounts(launch(ids=IDS, mounts=points))
    mapped = {place for place, mount in inside.items() if mount.uid_mappings}
    assert mapped == {"/volume", "/mapped", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    assert all(inside[place].gid_mappings == MAPPING for place in mapped)
    plain = mounts(launch(mounts=points))
    assert not any(mount.uid_mappings for mount in plain.values())


def test_terminals_have_their_group_where_there_is_one() -> None:
    assert "gid=5" in mounts(launch(ids=IDS))["/dev/pts"].options
    few = [oci.IdMapping(container_id=0, host_id=100000, size=5)]
    made = launch(ids=IdMap(uids=few, gids=few))
    assert "gid=5" not in mounts(made)["/dev/pts"].options


def test_the_hosts_queues_are_not_mounted_anew() -> None:
    for ids, kinds in ((None, {"mqueue"}), (IDS, {"bind", None})):
        found = mounts(launch(host={"ipc_mode": "host"}, ids=ids)).get("/dev/mqueue")
        assert (found.type if found else None) in kinds


def test_ping_is_for_the_groups_that_there_are() -> None:
    facts = make_facts(default_sysctls={"net.ipv4.ping_group_range": "0 2147483647"})
    shown = {}
    for ids in (None, IDS):
        record = msgspec.structs.replace(make_record(), ids=ids)
        made = build_launch(
            record,
            rootfs=RootfsMount(type="overlay", lower=["/l"]),
            files=Path("/data/c"),
            interfaces=[],
            joins={},
            propagation="",
            seccomp_path="",
            facts=facts,
            cgroups_path="",
            defaults=ContainerDefaults(),
        )
        shown[ids is not None] = made.spec.linux.sysctl["net.ipv4.ping_group_range"]
    assert shown == {False: "0 2147483647", True: "0 65535"}


def test_execs_join_it() -> None:
    record = make_record()
    exec_ = ExecRecord(id=ExecId("e"), container_id=record.id, cmd=["true"], env=[])
    for ids, expected in ((None, []), (IDS, ["user"])):
        made = msgspec.structs.replace(record, ids=ids)
        told = build_exec(
            made, exec_, seccomp_path="", cgroups_path="", defaults=ContainerDefaults()
        )
        assert told.namespaces == expected
