"""Documents for the fake engine: containers, images, volumes, networks with every quirk."""

from __future__ import annotations

from typing import Any

from support.fake_engine import Answer, Reply, Request, document, frame, problem

WEB = "4f1e5b0c9d8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c"
DB = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9"
ODD = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"
ALPINE = "sha256:9c6f0724472873bb50a2ae67a9e7adcb57673a183cea8b06eb778dca859181b5"
NGINX = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
DANGLING = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
NETWORK = "3333333333333333333333333333333333333333333333333333333333333333"
DIGEST = "sha256:77ee93ea80fe5d3ba23a9ffe3b4e2ef4aeba8c03ab9b29ba3ad7b6c1d58b8b4e"

CONTAINERS: list[dict[str, Any]] = [
    {
        "Id": WEB,
        "Names": ["/web", "/other/alias"],
        "Image": "nginx:1.27",
        "ImageID": NGINX,
        "Command": "/docker-entrypoint.sh nginx -g 'daemon off;'",
        "Created": 1700000000,
        "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"PrivatePort": 443, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 9000, "PublicPort": 9000, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 9001, "PublicPort": 9001, "Type": "tcp"},
            {"IP": "127.0.0.1", "PrivatePort": 53, "PublicPort": 5353, "Type": "udp"},
        ],
        "Labels": {"com.example.tier": "front", "a": "b<c>&d", "empty": ""},
        "State": "running",
        "Status": "Up 5 minutes (healthy)",
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": NETWORK}}},
        "Mounts": [
            {
                "Type": "volume",
                "Name": "a-very-long-volume-name",
                "Source": "/v/_data",
                "Destination": "/data",
                "Driver": "local",
                "RW": True,
            },
            {"Type": "bind", "Source": "/etc/some/long/path", "Destination": "/x", "RW": False},
        ],
        "SizeRw": 1093,
        "SizeRootFs": 192837465,
    },
    {
        "Id": DB,
        "Names": ["/db"],
        "Image": "sha256:9c6f0724472873bb50a2ae67a9e7adcb57673a183cea8b06eb778dca859181b5",
        "ImageID": ALPINE,
        "Command": 'sh -c "echo \u00e9t\u00e9 \\\\ \u4e16\u754c and more text"',
        "Created": 1600000000,
        "Ports": [],
        "Labels": {},
        "State": "exited",
        "Status": "Exited (137) 2 hours ago",
        "HostConfig": {"NetworkMode": "none"},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    },
    {
        "Id": ODD,
        "Names": ["/\u4e16\u754c-odd"],
        "Image": "localhost:5000/team/app@" + DIGEST,
        "ImageID": ALPINE,
        "Command": "",
        "Created": 1500000000,
        "Ports": None,
        "Labels": None,
        "State": "created",
        "Status": "Created",
        "HostConfig": {},
        "NetworkSettings": None,
        "Mounts": None,
    },
]

IMAGES: list[dict[str, Any]] = [
    {
        "Id": NGINX,
        "ParentId": "",
        "RepoTags": ["nginx:1.27"],
        "RepoDigests": ["nginx@" + DIGEST],
        "Created": 1700000000,
        "Size": 187234567,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": {"maintainer": "x"},
    },
    {
        "Id": ALPINE,
        "ParentId": "",
        "RepoTags": ["docker.io/library/alpine:3.20"],
        "RepoDigests": [],
        "Created": 1600000000,
        "Size": 7797760,
        "SharedSize": 0,
        "Containers": 2,
        "Labels": None,
    },
    {
        "Id": "sha256:" + "4" * 64,
        "ParentId": "",
        "RepoTags": ["localhost:5000/team/app:dev"],
        "RepoDigests": None,
        "Created": 1500000000,
        "Size": 999,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": None,
    },
    {
        "Id": "sha256:" + "5" * 64,
        "ParentId": "",
        "RepoTags": [],
        "RepoDigests": ["ghcr.io/x/only-digest@" + DIGEST],
        "Created": 1500000000,
        "Size": 1000,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": None,
    },
    {
        "Id": DANGLING,
        "ParentId": "",
        "RepoTags": [],
        "RepoDigests": [],
        "Created": 1500000000,
        "Size": 1234567890,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": None,
    },
]

HISTORY = [
    {
        "Id": ALPINE,
        "Created": 1700000000,
        "CreatedBy": 'CMD ["/bin/sh"]',
        "Tags": ["alpine:3.20"],
        "Size": 0,
        "Comment": "buildkit.dockerfile.v0",
    },
    {
        "Id": "<missing>",
        "Created": 1600000000,
        "CreatedBy": "ADD\talpine-minirootfs-3.20.3-x86_64.tar.gz / # buildkit and more",
        "Tags": None,
        "Size": 7797760,
        "Comment": "",
    },
    {"Id": "<missing>", "Created": 0, "CreatedBy": "", "Tags": None, "Size": 12, "Comment": "old"},
]

VOLUMES = {
    "Volumes": [
        {
            "CreatedAt": "2026-01-02T03:04:05Z",
            "Driver": "local",
            "Labels": {"a": "1", "k": "v"},
            "Mountpoint": "/var/lib/docker/volumes/data/_data",
            "Name": "data",
            "Options": None,
            "Scope": "local",
        },
        {
            "Name": "cache",
            "Driver": "nfs",
            "Mountpoint": "/mnt/c",
            "Labels": None,
            "Scope": "global",
            "Options": {"o": "x"},
            "UsageData": {"Size": 12345, "RefCount": 2},
        },
    ],
    "Warnings": ["a warning"],
}

NETWORKS: list[dict[str, Any]] = [
    {
        "Name": "bridge",
        "Id": NETWORK,
        "Created": "2026-11-23T23:15:57.123456789Z",
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}],
        },
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {
            WEB: {
                "Name": "web",
                "EndpointID": "e1",
                "MacAddress": "02:42:ac:11:00:02",
                "IPv4Address": "172.17.0.2/16",
                "IPv6Address": "",
            }
        },
        "Options": {"com.docker.network.bridge.name": "docker0"},
        "Labels": {"x": "y"},
    },
    {
        "Name": "host",
        "Id": "7" * 64,
        "Created": "2026-11-23T23:15:57Z",
        "Scope": "local",
        "Driver": "host",
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": None},
        "Internal": True,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    },
]

CONTAINER: dict[str, Any] = {
    "Id": WEB,
    "Created": "2026-11-24T00:11:36.123456789Z",
    "Path": "/docker-entrypoint.sh",
    "Args": ["nginx", "-g", "daemon off;"],
    "State": {
        "Status": "running",
        "Running": True,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 4242,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "2026-11-24T00:11:37Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Image": NGINX,
    "ResolvConfPath": "/c/resolv.conf",
    "HostnamePath": "/c/hostname",
    "HostsPath": "/c/hosts",
    "LogPath": "/c/log",
    "Name": "/web",
    "RestartCount": 3,
    "Driver": "overlay2",
    "Platform": "linux",
    "MountLabel": "",
    "ProcessLabel": "",
    "AppArmorProfile": "",
    "ExecIDs": None,
    "NewThing": {"Deep": [1, 2.5, "x", None]},
    "HostConfig": {
        "Binds": None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": "json-file", "Config": {}},
        "NetworkMode": "bridge",
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5},
        "AutoRemove": False,
        "VolumeDriver": "",
        "VolumesFrom": None,
        "ConsoleSize": [24, 80],
        "CapAdd": ["NET_ADMIN"],
        "CapDrop": None,
        "CgroupnsMode": "private",
        "Dns": [],
        "DnsOptions": [],
        "DnsSearch": [],
        "ExtraHosts": None,
        "GroupAdd": None,
        "IpcMode": "private",
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": 0,
        "PidMode": "",
        "Privileged": False,
        "PublishAllPorts": False,
        "ReadonlyRootfs": False,
        "SecurityOpt": None,
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": 67108864,
        "Runtime": "runc",
        "Isolation": "",
        "CpuShares": 0,
        "Memory": 536870912,
        "NanoCpus": 1500000000,
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpusetCpus": "",
        "CpusetMems": "",
        "Devices": [],
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        "MemoryReservation": 0,
        "MemorySwap": 1073741824,
        "MemorySwappiness": None,
        "OomKillDisable": None,
        "PidsLimit": 100,
        "Ulimits": [{"Name": "nofile", "Hard": 2048, "Soft": 1024}],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": ["/proc/kcore"],
        "ReadonlyPaths": ["/proc/sys"],
        "Init": True,
    },
    "GraphDriver": {"Data": {"UpperDir": "/u", "LowerDir": "/l"}, "Name": "overlay2"},
    "Mounts": [
        {
            "Type": "volume",
            "Name": "data",
            "Source": "/v/data/_data",
            "Destination": "/data",
            "Driver": "local",
            "Mode": "z",
            "RW": True,
            "Propagation": "",
        },
        {
            "Type": "bind",
            "Source": "/src <&>",
            "Destination": "/dst",
            "Mode": "",
            "RW": False,
            "Propagation": "rprivate",
        },
    ],
    "Config": {
        "Hostname": "4f1e5b0c9d8a",
        "Domainname": "",
        "User": "",
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": ["PATH=/usr/bin:/bin", "NGINX_VERSION=1.27.0", "UNI=\u00e9\u4e16"],
        "Cmd": ["nginx", "-g", "daemon off;"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000, "Timeout": 1500000000},
        "Image": "nginx:1.27",
        "Volumes": None,
        "WorkingDir": "",
        "Entrypoint": ["/docker-entrypoint.sh"],
        "OnBuild": None,
        "Labels": {"com.example.tier": "front", "maintainer": "x <x@y>", "n": "10"},
        "StopSignal": "SIGQUIT",
    },
    "NetworkSettings": {
        "Bridge": "",
        "SandboxID": "sb",
        "SandboxKey": "/run/sb",
        "Ports": {
            "443/tcp": None,
            "80/tcp": [
                {"HostIp": "0.0.0.0", "HostPort": "8080"},
                {"HostIp": "::", "HostPort": "8080"},
            ],
            "9000/udp": [{"HostIp": "127.0.0.1", "HostPort": "19000"}],
        },
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": "ep",
        "Gateway": "172.17.0.1",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "172.17.0.2",
        "IPPrefixLen": 16,
        "IPv6Gateway": "",
        "MacAddress": "02:42:ac:11:00:02",
        "Networks": {
            "bridge": {
                "IPAMConfig": None,
                "Links": None,
                "Aliases": None,
                "MacAddress": "02:42:ac:11:00:02",
                "DriverOpts": None,
                "GwPriority": 0,
                "NetworkID": NETWORK,
                "EndpointID": "ep",
                "Gateway": "172.17.0.1",
                "IPAddress": "172.17.0.2",
                "IPPrefixLen": 16,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "DNSNames": None,
            }
        },
    },
}

IMAGE: dict[str, Any] = {
    "Id": ALPINE,
    "RepoTags": ["alpine:3.20"],
    "RepoDigests": ["alpine@" + DIGEST],
    "Parent": "",
    "Comment": "",
    "Created": "2026-09-06T22:20:07.972381771Z",
    "DockerVersion": "",
    "Author": "",
    "Config": {
        "User": "",
        "Env": ["PATH=/usr/local/sbin:/bin"],
        "Cmd": ["/bin/sh"],
        "WorkingDir": "/",
        "Labels": {"k": "v"},
    },
    "Architecture": "amd64",
    "Os": "linux",
    "Size": 7797760,
    "GraphDriver": {"Data": {"MergedDir": "/m"}, "Name": "overlay2"},
    "RootFS": {"Type": "layers", "Layers": ["sha256:63ca1fbb43ae5034640e5e6cb3e083e05c290072"]},
    "Metadata": {"LastTagTime": "2026-11-01T00:00:00Z"},
}

EVENTS = [
    {
        "status": "start",
        "id": WEB,
        "from": "nginx:1.27",
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": WEB, "Attributes": {"name": "web", "image": "nginx:1.27", "a": "1"}},
        "scope": "local",
        "time": 1700000000,
        "timeNano": 1700000000123456789,
    },
    {
        "Type": "network",
        "Action": "connect",
        "Actor": {"ID": NETWORK, "Attributes": {}},
        "scope": "local",
        "time": 1700000001,
        "timeNano": 1700000001000000000,
    },
    {"Type": "daemon", "Action": "reload", "Actor": {"ID": "x"}, "time": 1700000002},
]

VERSION = {
    "Platform": {"Name": "Docker Engine - Community"},
    "Components": [
        {
            "Name": "Engine",
            "Version": "28.2.2",
            "Details": {
                "ApiVersion": "1.50",
                "Arch": "amd64",
                "BuildTime": "2025-05-30T12:07:28.000000000+00:00",
                "Experimental": "false",
                "GitCommit": "45873be",
                "GoVersion": "go1.24.3",
                "KernelVersion": "6.1.0",
                "MinAPIVersion": "1.24",
                "Os": "linux",
            },
        },
        {
            "Name": "runc",
            "Version": "1.2.6",
            "Details": {"GitCommit": "v1.2.6-0-g1234", "Beta": "b"},
        },
    ],
    "Version": "28.2.2",
    "ApiVersion": "1.50",
    "MinAPIVersion": "1.24",
    "GitCommit": "45873be",
    "GoVersion": "go1.24.3",
    "Os": "linux",
    "Arch": "amd64",
    "KernelVersion": "6.1.0",
    "BuildTime": "2025-05-30T12:07:28.000000000+00:00",
}

INFO: dict[str, Any] = {
    "ID": "b1c2",
    "Containers": 3,
    "ContainersRunning": 1,
    "ContainersPaused": 0,
    "ContainersStopped": 2,
    "Images": 5,
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
    "Plugins": {
        "Volume": ["local"],
        "Network": ["bridge", "host", "none"],
        "Authorization": None,
        "Log": ["json-file", "none"],
    },
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsPeriod": True,
    "CpuCfsQuota": True,
    "CPUShares": True,
    "CPUSet": True,
    "PidsLimit": True,
    "IPv4Forwarding": True,
    "Debug": False,
    "NFd": 30,
    "OomKillDisable": False,
    "NGoroutines": 50,
    "SystemTime": "2026-11-24T00:00:00Z",
    "LoggingDriver": "json-file",
    "CgroupDriver": "cgroupfs",
    "CgroupVersion": "2",
    "NEventsListener": 1,
    "KernelVersion": "6.1.0",
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "OSVersion": "12",
    "OSType": "linux",
    "Architecture": "x86_64",
    "IndexServerAddress": "https://index.docker.io/v1/",
    "RegistryConfig": {
        "InsecureRegistryCIDRs": ["127.0.0.0/8", "::1/128"],
        "IndexConfigs": {
            "docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}
        },
        "Mirrors": None,
    },
    "NCPU": 8,
    "MemTotal": 16777216000,
    "GenericResources": None,
    "DockerRootDir": "/var/lib/docker",
    "HttpProxy": "",
    "HttpsProxy": "",
    "NoProxy": "",
    "Name": "host",
    "Labels": [],
    "ExperimentalBuild": False,
    "ServerVersion": "28.2.2",
    "Runtimes": {"runc": {"path": "runc"}, "io.containerd.runc.v2": {"path": "runc"}},
    "DefaultRuntime": "runc",
    "Swarm": {
        "NodeID": "",
        "NodeAddr": "",
        "LocalNodeState": "inactive",
        "ControlAvailable": False,
        "Error": "",
        "RemoteManagers": None,
    },
    "LiveRestoreEnabled": False,
    "Isolation": "",
    "InitBinary": "docker-init",
    "ContainerdCommit": {"ID": "cafe"},
    "RuncCommit": {"ID": "beef"},
    "InitCommit": {"ID": "de40ad0"},
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
    "Warnings": ["WARNING: No swap limit support"],
}

LOGS = (
    frame(1, b"out one\n")
    + frame(2, b"err one\n")
    + frame(1, b"\xff\xfebinary\n")
    + frame(2, b"")
    + frame(1, b"no newline")
)

TOP = {
    "Titles": ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"],
    "Processes": [
        ["root", "4242", "4200", "0", "00:11", "?", "00:00:00", "nginx: master process nginx -g x"],
        ["101", "4300", "4242", "0", "00:11", "?", "00:00:00", "nginx: worker process"],
    ],
}

CHANGES = [
    {"Path": "/etc", "Kind": 0},
    {"Path": "/etc/new", "Kind": 1},
    {"Path": "/gone", "Kind": 2},
]


DISK_USAGE: dict[str, Any] = {
    "LayersSize": 195032327,
    "Images": [
        {**IMAGES[0], "SharedSize": 7797760, "Containers": 1},
        {**IMAGES[1], "SharedSize": 7797760, "Containers": 0},
    ],
    "Containers": CONTAINERS,
    "Volumes": [
        {**VOLUMES["Volumes"][0], "UsageData": {"Size": 5000, "RefCount": 0}},  # type: ignore[index]
        VOLUMES["Volumes"][1],  # type: ignore[index]
    ],
    "BuildCache": [
        {
            "ID": "cache1",
            "Type": "regular",
            "Description": "x",
            "InUse": False,
            "Shared": False,
            "Size": 4321,
            "CreatedAt": "2026-01-02T03:04:05Z",
            "LastUsedAt": None,
            "UsageCount": 3,
        },
        {
            "ID": "cache2",
            "Type": "regular",
            "Description": "y",
            "InUse": True,
            "Shared": False,
            "Size": 1000,
            "CreatedAt": "2026-01-02T03:04:05Z",
            "LastUsedAt": None,
            "UsageCount": 1,
        },
    ],
}

STATS: dict[str, Any] = {
    "name": "/web",
    "id": WEB,
    "read": "2026-11-24T00:00:01Z",
    "preread": "2026-11-24T00:00:00Z",
    "pids_stats": {"current": 7},
    "blkio_stats": {
        "io_service_bytes_recursive": [
            {"major": 8, "minor": 0, "op": "read", "value": 1234567},
            {"major": 8, "minor": 0, "op": "Write", "value": 89},
        ]
    },
    "cpu_stats": {
        "cpu_usage": {"total_usage": 2000000000},
        "system_cpu_usage": 100000000000,
        "online_cpus": 4,
    },
    "precpu_stats": {
        "cpu_usage": {"total_usage": 1500000000},
        "system_cpu_usage": 96000000000,
        "online_cpus": 4,
    },
    "memory_stats": {
        "usage": 12345678,
        "limit": 536870912,
        "stats": {"inactive_file": 345678},
    },
    "networks": {"eth0": {"rx_bytes": 1500, "tx_bytes": 2500000}},
}


def _filtered_containers(request: Request) -> Reply:
    shown = CONTAINERS if request.query.get("all") == "1" else CONTAINERS[:1]
    if limit := int(request.query.get("limit", "0")):
        shown = CONTAINERS[:limit]
    if request.query.get("size") != "1":
        shown = [
            {key: item for key, item in each.items() if not key.startswith("SizeR")}
            for each in shown
        ]
    return document(shown)


def _images(request: Request) -> Reply:
    if "nothing" in request.query.get("filters", ""):
        return document([])
    return document(IMAGES)


def answers() -> dict[tuple[str, str], Answer]:
    """The whole world of the fake engine."""
    lines = b"".join(document(event).body for event in EVENTS)
    known: dict[tuple[str, str], Answer] = {
        ("GET", "/containers/json"): _filtered_containers,
        ("GET", "/images/json"): _images,
        ("GET", "/volumes"): document(VOLUMES),
        ("GET", "/networks"): document(NETWORKS),
        ("GET", "/events"): Reply(lines),
        ("GET", "/version"): document(VERSION),
        ("GET", "/info"): document(INFO),
        ("GET", "/system/df"): document(DISK_USAGE),
        ("GET", "/volumes/data"): document(VOLUMES["Volumes"][0]),  # type: ignore[index]
        ("GET", "/networks/bridge"): document(NETWORKS[0]),
        ("GET", "/networks/host"): document(NETWORKS[1]),
        ("GET", "/images/nginx/history"): document(HISTORY),
        ("GET", "/images/alpine:3.20/json"): document(IMAGE),
        ("GET", "/images/broken/json"): problem(500, "the disk is on fire"),
        ("GET", "/containers/broken/json"): problem(500, "the disk is on fire"),
    }
    for name in ("web", WEB, WEB[:12]):
        known |= {
            ("GET", f"/containers/{name}/json"): document(CONTAINER),
            ("GET", f"/containers/{name}/top"): document(TOP),
            ("GET", f"/containers/{name}/changes"): document(CHANGES),
            ("GET", f"/containers/{name}/stats"): document(STATS),
            ("GET", f"/containers/{name}/logs"): Reply(
                LOGS, 200, "application/vnd.docker.multiplexed-stream"
            ),
        }
    return known
