"""The table of ``tests/clients/test_run_flags.py``: every flag of run, exec and update.

A row's name is its flag, and what of it the row shows if there are several.
"""

from __future__ import annotations

from support.cases import Case

UP = "docker run -d --name c1 busybox sleep 1000 >/dev/null\n"
REFUSED = "Error response from daemon: "
WEIGHTS = "cd /sys/fs/cgroup; cat blkio/*.weight io.weight io.bfq.weight 2>/dev/null"
NO_REAL_TIME = "not support CPU real-time scheduler|--cpu-rt-runtime: the kernel does not take"
WINDOWS = "only supported on a Docker daemon running on windows"
LOOK = "look() { cat /sys/fs/cgroup/$1/$2 2>/dev/null || cat /sys/fs/cgroup/$3; }; look "
"""Shell inside: the file ($2) of a version 1 controller ($1), or that of version 2 ($3)."""


def run(
    flag: str, options: str, command: str, out: str | None = "", *, code: int = 0, err: str = ""
) -> Case:
    """A container that shows by its output that the flag works."""
    return Case(flag, f"docker run --rm {options} busybox {command}", out, code, err)


def refuse(flag: str, options: str, err: str, *, code: int = 125) -> Case:
    """A flag that is refused, and in which words.

    The command line ends with 127 if the engine finds no file, and with 1 if it asks none.
    """
    return Case(flag, f"docker run --rm {options} busybox true", code=code, err=err)


def depends(flag: str, script: str, out: str) -> Case:
    """What only some kernels can: ``out`` says in a pattern how it goes on each of them."""
    return Case(flag, f"({script}) 2>&1 | grep -Eq -e '{out}' && echo fine", "fine\n")


RUN = (
    run("--add-host", "--add-host x:10.9.8.7", "grep 10.9.8.7 /etc/hosts", "10.9.8.7\tx\n"),
    Case(
        "--annotation",
        "docker run --name c1 --annotation a=b busybox true; "
        "docker inspect -f '{{json .HostConfig.Annotations}}' c1",
        '{"a":"b"}\n',
    ),
    Case("--attach", "docker run --rm -a stderr busybox sh -c 'echo o; echo e >&2'", err="^e$"),
    depends(
        "--blkio-weight",
        f"docker run --rm --blkio-weight 300 busybox sh -c '{WEIGHTS}'",
        "^300$|^default 2930$|does not support Block I/O weight",
    ),
    refuse("--blkio-weight range", "--blkio-weight 5", "Range of blkio weight is from 10 to 1000"),
    refuse(
        "--blkio-weight-device",
        "--blkio-weight-device /dev/none:200",
        "/dev/none: no such file",
        code=127,
    ),
    run(
        "--cap-add",
        "--cap-add NET_RAW",
        "grep CapEff /proc/self/status",
        "CapEff:\t00000000800425fb\n",
    ),
    run(
        "--cap-drop",
        "--cap-drop ALL",
        "grep CapEff /proc/self/status",
        "CapEff:\t0000000000000000\n",
    ),
    run(
        "--cgroup-parent",
        "--cgroup-parent /barque-flags --cgroupns host",
        "grep -c /barque-flags/ /proc/self/cgroup",
        None,
    ),
    Case(
        "--cgroupns",
        "for mode in host private; do docker run --rm --cgroupns $mode busybox "
        "readlink /proc/self/ns/cgroup | grep -c $(readlink /proc/self/ns/cgroup | tr -dc 0-9); "
        "done",
        "1\n0\n",
        code=1,
    ),
    Case(
        "--cidfile",
        "docker run --rm --cidfile id busybox true; cat id",
        "<id>",
    ),
    refuse("--cpu-count", "--cpu-count 1", WINDOWS, code=1),
    refuse("--cpu-percent", "--cpu-percent 1", WINDOWS, code=1),
    run(
        "--cpu-period",
        "--cpu-period 50000",
        f"sh -c '{LOOK} cpu cpu.cfs_period_us cpu.max'",
        "50000\n",
    ),
    run(
        "--cpu-quota",
        "--cpu-quota 20000",
        f"sh -c '{LOOK} cpu cpu.cfs_quota_us cpu.max'",
        "20000\n",
    ),
    depends(
        "--cpu-rt-period",
        f"docker run --rm --cpu-rt-period 1000 busybox sh -c '{LOOK} cpu cpu.rt_period_us x'",
        f"^1000$|{NO_REAL_TIME}",
    ),
    depends(
        "--cpu-rt-runtime",
        f"docker run --rm --cpu-rt-runtime 900 busybox sh -c '{LOOK} cpu cpu.rt_runtime_us x'",
        f"^900$|{NO_REAL_TIME}",
    ),
    run("--cpu-shares", "-c 300", f"sh -c '{LOOK} cpu cpu.shares cpu.weight'", "300\n"),
    run("--cpus", "--cpus 0.5", f"sh -c '{LOOK} cpu cpu.cfs_quota_us cpu.max'", "50000\n"),
    run("--cpuset-cpus", "--cpuset-cpus 0", "nproc", "1\n"),
    run(
        "--cpuset-mems",
        "--cpuset-mems 0",
        "grep Mems_allowed_list /proc/self/status",
        "Mems_allowed_list:\t0\n",
    ),
    Case("--detach", "docker run -d busybox true", "<id>\n"),
    Case(
        "--detach-keys",
        "(sleep 1; printf a) | script -qec "
        "'docker run -it --name c1 --detach-keys a busybox cat' /dev/null >/dev/null; "
        "docker inspect -f '{{.State.Running}}' c1",
        "true\n",
    ),
    run("--device", "--device /dev/zero:/dev/nothing", "head -c 3 /dev/nothing", "\0\0\0"),
    refuse(
        "--device missing",
        "--device /dev/none",
        'adding custom device "/dev/none": no such',
        code=127,
    ),
    refuse(
        "--device CDI",
        "--device vendor.test/gpu=0",
        'could not select device driver "cdi" with capabilities: ',
    ),
    run(
        "--device-cgroup-rule",
        "--cap-add MKNOD --device-cgroup-rule 'c 240:0 r'",
        "sh -c 'mknod /x c 240 0; cat /x'",  # nothing has this number
        code=1,
        err="No such device",
    ),
    refuse("--device-cgroup-rule invalid", "--device-cgroup-rule x", "[Ii]nvalid device cgroup"),
    refuse(
        "--device-read-bps", "--device-read-bps /dev/none:1mb", "/dev/none: no such file", code=127
    ),
    refuse(
        "--device-read-iops", "--device-read-iops /dev/none:10", "/dev/none: no such file", code=127
    ),
    refuse(
        "--device-write-bps",
        "--device-write-bps /dev/none:1mb",
        "/dev/none: no such file",
        code=127,
    ),
    refuse(
        "--device-write-iops",
        "--device-write-iops /dev/none:10",
        "/dev/none: no such file",
        code=127,
    ),
    run("--disable-content-trust", "--disable-content-trust=true", "echo x", "x\n"),
    run("--dns", "--dns 9.9.9.9", "grep nameserver /etc/resolv.conf", "nameserver 9.9.9.9\n"),
    run("--dns-option", "--dns-option ndots:2", "grep -o ndots:2 /etc/resolv.conf", "ndots:2\n"),
    run("--dns-search", "--dns-search a.test", "grep -o a.test /etc/resolv.conf", "a.test\n"),
    run("--domainname", "-h a --domainname b.test", "hostname -f", "a.b.test\n"),
    run("--entrypoint", "--entrypoint echo", "x", "x\n"),
    run("--env", "-e A=b", "sh -c 'echo $A'", "b\n"),
    Case(
        "--env-file",
        "echo A=b > file; docker run --rm --env-file file busybox sh -c 'echo $A'",
        "b\n",
    ),
    Case(
        "--expose",
        "docker run -d --name c1 --expose 80 -P busybox sleep 1000 > /dev/null; "
        "docker port c1 | grep -c 80/tcp",
        None,
    ),
    refuse("--gpus", "--gpus all", r'could not select device driver "" with capabilities: \[\[gpu'),
    run("--group-add", "-u 7 --group-add wheel --group-add 777", "id -G", "0 10 777\n"),
    Case(
        "--health-cmd",
        "docker run -d --name c1 --health-cmd 'echo fine' --health-interval 100ms "
        "busybox sleep 1000 >/dev/null\n"
        "until docker ps | grep -q '(healthy)'; do sleep 0.1; done; "
        "docker inspect -f '{{(index .State.Health.Log 0).Output}}' c1",
        "fine\n\n",
    ),
    Case(
        "--health-interval",
        "docker run -d --name c1 --health-cmd true --health-interval 20s "
        "busybox sleep 1000 >/dev/null; sleep 0.5; "
        "docker inspect -f '{{.State.Health.Status}} {{len .State.Health.Log}}' c1",
        "starting 0\n",
    ),
    Case(
        "--health-retries",
        "id=$(docker run -d --name c1 --health-cmd 'exit 3' --health-interval 100ms "
        "--health-retries 2 busybox sleep 1000)\n"
        "until docker ps | grep -q '(unhealthy)'; do sleep 0.1; done; "
        "docker inspect -f '{{(index .State.Health.Log 0).ExitCode}}' c1; "
        "docker events --since 1m --until $(date +%s.%N) --filter container=$id --filter event=health_status "
        "--format '{{.Action}}'",
        "3\nhealth_status: unhealthy\n",
    ),
    Case(
        "--health-start-interval",
        "docker run -d --name c1 --health-cmd true --health-interval 60s "
        "--health-start-period 600s --health-start-interval 100ms busybox sleep 1000 >/dev/null\n"
        "until docker ps | grep -q '(healthy)'; do sleep 0.1; done; echo healthy",
        "healthy\n",
    ),
    Case(
        "--health-start-period",
        "docker run -d --name c1 --health-cmd false --health-interval 60s --health-retries 1 "
        "--health-start-period 600s --health-start-interval 100ms busybox sleep 1000 >/dev/null\n"
        "sleep 1; docker inspect -f '{{.State.Health.Status}} {{.State.Health.FailingStreak}}' c1",
        "starting 0\n",
    ),
    Case(
        "--health-timeout",
        "docker run -d --name c1 --health-cmd 'echo slow; sleep 600' --health-interval 100ms "
        "--health-timeout 200ms --health-retries 1 busybox sleep 1000 >/dev/null\n"
        "until docker ps | grep -q '(unhealthy)'; do sleep 0.1; done; "
        "docker inspect -f '{{(index .State.Health.Log 0).Output}}' c1; "
        "docker stop -t 0 c1 >/dev/null; docker inspect -f '{{.State.Health.Status}}' c1",
        "Health check exceeded timeout (200ms): slow\n\nunhealthy\n",
    ),
    Case("--help", "docker run --help | head -1; echo", None),
    run("--hostname", "-h box", "hostname", "box\n"),
    run(
        "--init", "--init", "sh -c 'echo $$; ps -o pid,comm | grep -v -c \"sh\\|ps\\|grep\"'", None
    ),
    Case("--interactive", "echo x | docker run --rm -i busybox cat", "x\n"),
    refuse("--io-maxbandwidth", "--io-maxbandwidth 1m", WINDOWS, code=1),
    refuse("--io-maxiops", "--io-maxiops 1", WINDOWS, code=1),
    Case(
        "--ip",
        "docker network create --subnet 10.217.3.0/24 flags >/dev/null; "
        "docker run --rm --network flags --ip 10.217.3.77 busybox ip -4 -o address show eth0 | "
        "grep -o 10.217.3.77/24; docker network rm flags",
        "10.217.3.77/24\nflags\n",
    ),
    Case(
        "--ip6",
        "docker network create --ipv6 --subnet fd00:217::/64 flags >/dev/null; "
        "docker run --rm --network flags --ip6 fd00:217::77 busybox ip -6 -o address show eth0 | "
        "grep -o fd00:217::77/64; docker network rm flags",
        "fd00:217::77/64\nflags\n",
    ),
    Case(
        "--ipc",
        "docker run -d --name c1 --ipc shareable busybox sh -c 'echo x > /dev/shm/x; sleep 1000' "
        ">/dev/null; docker run --rm --ipc container:c1 busybox cat /dev/shm/x; "
        "docker run --rm --ipc none busybox test -e /dev/shm || echo none; "
        "docker run --rm --ipc host busybox readlink /proc/self/ns/ipc | "
        "diff - <(readlink /proc/self/ns/ipc) && echo host; "
        "docker run --rm --ipc private busybox ls -A /dev/shm",
        "x\nnone\nhost\n",
    ),
    refuse("--isolation", "--isolation hyperv", "invalid isolation 'hyperv' on linux"),
    run("--kernel-memory", "--kernel-memory 100m", "echo x", "x\n"),
    Case(
        "--label",
        "docker run --name c1 -l a=b busybox true; docker ps -aq --filter label=a=b",
        "<short id>\n",
    ),
    Case(
        "--label-file",
        "echo a=b > file; docker run --name c1 --label-file file busybox true; "
        "docker ps -aq --filter label=a=b",
        "<short id>\n",
    ),
    Case(
        "--link",
        UP + "docker run --rm --link c1:other busybox grep -c other /etc/hosts",
        "1\n",
    ),
    Case(
        "--link-local-ip",
        "docker network create shop >/dev/null; docker run --rm --network shop --link-local-ip "
        "169.254.3.4 --link-local-ip fe80::9:1 busybox ip address | grep -o '169.254.*/16\\|fe80::9:1/64'",
        "169.254.3.4/16\nfe80::9:1/64\n",
    ),
    Case(
        "--log-driver",
        "docker run --name c1 --log-driver none busybox echo x; docker logs c1",
        "x\n",
        code=1,
        err="configured logging driver does not support reading",
    ),
    refuse("--log-driver missing", "--log-driver syslog", "log driver 'syslog' is not implemented"),
    refuse("--log-driver unknown", "--log-driver x", "no log driver named 'x' is registered"),
    refuse("--log-opt", "--log-opt x=1", "unknown log opt 'x' for json-file log driver"),
    run(
        "--mac-address",
        "--mac-address 92:d0:c6:0a:29:33",
        "cat /sys/class/net/eth0/address",
        "92:d0:c6:0a:29:33\n",
    ),
    run(
        "--memory",
        "-m 64m",
        f"sh -c '{LOOK} memory memory.limit_in_bytes memory.max'",
        "67108864\n",
    ),
    run(
        "--memory-reservation",
        "--memory-reservation 32m",
        f"sh -c '{LOOK} memory memory.soft_limit_in_bytes memory.low'",
        "33554432\n",
    ),
    depends(
        "--memory-swap",
        "docker run --rm -m 64m --memory-swap 96m busybox "
        f"sh -c '{LOOK} memory memory.memsw.limit_in_bytes memory.swap.max'",
        "^100663296$|^33554432$|does not support swap limit",
    ),
    depends(
        "--memory-swappiness",
        "docker run --rm --memory-swappiness 7 busybox cat /sys/fs/cgroup/memory/memory.swappiness",
        "^7$|does not support memory swappiness",
    ),
    Case(
        "--mount",
        "echo x > file; docker run --rm --mount type=bind,src=$PWD/file,dst=/y,ro busybox cat /y",
        "x\n",
    ),
    Case("--name", "docker run --name c1 busybox true; docker ps -a --format '{{.Names}}'", "c1\n"),
    run("--network", "--network none", "ls /sys/class/net", "lo\n"),
    Case(
        "--network-alias",
        "docker network create flags >/dev/null; "
        "docker run --rm --network flags --network-alias me busybox sh -c "
        "'nslookup me >/dev/null && echo found'; docker network rm flags",
        "found\nflags\n",
    ),
    Case(
        "--no-healthcheck",
        "docker run -d --name c1 --no-healthcheck busybox sleep 1000 >/dev/null; "
        "docker inspect -f '{{json .Config.Healthcheck.Test}} {{.State.Health}}' c1",
        '["NONE"] <nil>\n',
    ),
    depends(
        "--oom-kill-disable",
        "docker run --rm -m 64m --oom-kill-disable busybox "
        "cat /sys/fs/cgroup/memory/memory.oom_control",
        "^oom_kill_disable 1$|does not support OomKillDisable",
    ),
    run("--oom-score-adj", "--oom-score-adj 77", "cat /proc/self/oom_score_adj", "77\n"),
    Case(
        "--pid",
        "docker run --rm --pid host busybox readlink /proc/self/ns/pid | "
        "diff - <(readlink /proc/self/ns/pid) && echo host\n"
        + UP
        + "docker run --rm --pid container:c1 busybox ps | grep -c 'sleep 1000'",
        "host\n1\n",
    ),
    run(
        "--pids-limit",
        "--pids-limit 20",
        f"sh -c '{LOOK} pids pids.max pids.max'",
        "20\n",
    ),
    run("--pids-limit none", "--pids-limit -1", f"sh -c '{LOOK} pids pids.max pids.max'", "max\n"),
    run("--platform", "--platform linux/amd64", "echo x", "x\n"),
    run("--privileged", "--privileged", "sh -c 'test -w /proc/sys/kernel && echo w'", "w\n"),
    Case(
        "--publish",
        "docker run -d --name c1 -p 127.0.0.1:0:80 busybox httpd -f -h /etc > /dev/null; "
        "wget -qO- http://$(docker port c1 80)/hostname | head -c 12",
        "<short id>",
    ),
    Case(
        "--publish-all",
        "docker run -d --name c1 --expose 80 -P busybox sleep 1000 > /dev/null; "
        "docker port c1 80/tcp | grep -c '^0.0.0.0:[0-9]'",
        "1\n",
    ),
    Case(
        "--pull",
        "docker run --rm --pull never nonesuch:1 true",
        code=125,
        err="No such image: nonesuch:1",
    ),
    run("--quiet", "-q", "echo x", "x\n"),
    run("--read-only", "--read-only", "touch /x", code=1, err="Read-only file system"),
    Case(
        "--restart",
        "docker run -d --name c1 --restart on-failure:2 busybox false >/dev/null; "
        "docker wait c1; sleep 1; docker inspect -f '{{.RestartCount}}' c1",
        None,
    ),
    Case("--rm", "docker run --rm busybox true; docker ps -aq", ""),
    run("--runtime", "--runtime runc", "echo x", "x\n"),
    refuse("--runtime unknown", "--runtime x", "unknown or invalid runtime name: x"),
    run(
        "--security-opt no-new-privileges",
        "--security-opt no-new-privileges",
        "grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t1\n",
    ),
    run(
        "--security-opt seccomp",
        "--security-opt seccomp=unconfined",
        "grep Seccomp: /proc/self/status",
        "Seccomp:\t0\n",
    ),
    Case(
        "--security-opt seccomp file",
        'echo \'{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sethostname"],'
        '"action":"SCMP_ACT_ERRNO","errnoRet":22}]}\' > own.json; '
        "docker run --rm --cap-add SYS_ADMIN --security-opt seccomp=own.json busybox hostname x",
        code=1,
        err="sethostname: Invalid argument",
    ),
    run(
        "--security-opt systempaths",
        "--security-opt systempaths=unconfined",
        "sh -c 'grep -c \" /proc/\" /proc/mounts'",
        "0\n",
        code=1,
    ),
    run(
        "--security-opt unmask",
        "--security-opt unmask=/proc/sys",
        "sh -c 'cd /proc/sys/net/ipv4; echo 77 > ip_default_ttl; cat ip_default_ttl'",
        "77\n",
    ),
    run(
        "--security-opt mask",
        "--security-opt mask=/etc/passwd:/tmp",
        "sh -c 'cat /etc/passwd; touch /tmp/x'",
        code=1,
        err="Read-only file system",
    ),
    refuse("--security-opt apparmor", "--security-opt apparmor=x", "AppArmor is not enabled"),
    run("--security-opt unconfined", "--security-opt apparmor=unconfined", "echo x", "x\n"),
    refuse("--security-opt label", "--security-opt label=type:x", "SELinux is not enabled"),
    run("--security-opt disable", "--security-opt label=disable", "echo x", "x\n"),
    refuse("--security-opt unknown", "--security-opt x=y", 'invalid --security-opt 2: "x=y"'),
    run("--shm-size", "--shm-size 1m", "sh -c 'df -k /dev/shm | grep -o 1024 | head -1'", "1024\n"),
    Case(
        "--sig-proxy",
        'docker run --name c1 --sig-proxy=false busybox sh -c \'trap "echo got" TERM; echo ready; '
        "for i in 1 2 3 4 5 6 7 8; do sleep 0.2; done; echo over' >/dev/null &\n"
        "until docker logs c1 2>/dev/null | grep -q ready; do sleep 0.1; done; "
        "kill -TERM $!; docker wait c1; docker logs c1",
        "0\nready\nover\n",
    ),
    Case(
        "--stop-signal",
        "docker run -d --name c1 --stop-signal USR1 busybox sh -c "
        "'trap \"echo stopped; exit\" USR1; echo ready; while :; do sleep 0.1; done' >/dev/null\n"
        "until docker logs c1 | grep -q ready; do sleep 0.1; done; "
        "docker stop c1 >/dev/null; docker logs c1",
        "ready\nstopped\n",
    ),
    Case(
        "--stop-timeout",
        "docker run -d --name c1 --stop-timeout 0 busybox sleep 1000 >/dev/null; "
        "docker stop c1 >/dev/null; docker inspect -f '{{.State.ExitCode}}' c1",
        "137\n",
    ),
    refuse("--storage-opt", "--storage-opt size=1G", "supported only for overlay over xfs"),
    run(
        "--sysctl",
        "--sysctl net.ipv4.ip_default_ttl=77",
        "cat /proc/sys/net/ipv4/ip_default_ttl",
        "77\n",
    ),
    refuse("--sysctl of the host", "--sysctl kernel.panic=1", "'kernel.panic=1' is not allowed"),
    run("--tmpfs", "--tmpfs /x:size=1m", "sh -c 'df -k /x | grep -c 1024'", "1\n"),
    run("--tty", "-t", "tty", "/dev/pts/0\n"),
    run("--ulimit", "--ulimit nofile=10:20", "sh -c 'ulimit -Sn; ulimit -Hn'", "10\n20\n"),
    run(
        "--use-api-socket",
        "--use-api-socket",
        "sh -c 'test -S /var/run/docker.sock && echo socket'",
        "socket\n",
    ),
    run("--user", "-u 7:8", "sh -c 'id -u; id -g'", "7\n8\n"),
    Case(
        "--userns",
        "docker run --rm --userns host busybox readlink /proc/self/ns/user | "
        "diff - <(readlink /proc/self/ns/user) && echo host",
        "host\n",
    ),
    Case(
        "--uts",
        "docker run --rm --uts host busybox hostname | diff - <(hostname) && echo host",
        "host\n",
    ),
    Case(
        "--volume",
        "echo x > file; docker run --rm -v $PWD/file:/y busybox cat /y",
        "x\n",
    ),
    refuse("--volume-driver", "--volume-driver x -v vol:/y", "(?i)x"),
    Case(
        "--volumes-from",
        "docker run --name c1 -v /y busybox sh -c 'echo x > /y/x'; "
        "docker run --rm --volumes-from c1 busybox cat /y/x",
        "x\n",
    ),
    run("--workdir", "-w /made/here", "pwd", "/made/here\n"),
)

EXEC = (
    Case("--detach", UP + "docker exec -d c1 touch /x; sleep 0.5; docker exec c1 ls /x", "/x\n"),
    Case(
        "--detach-keys",
        UP + "(sleep 1; printf a) | script -qec "
        "'docker exec -it --detach-keys a c1 cat' /dev/null >/dev/null; "
        "docker exec c1 ps | grep -c ' cat$'",
        "1\n",
    ),
    Case("--env", UP + "docker exec -e A=b c1 sh -c 'echo $A'", "b\n"),
    Case(
        "--env-file", UP + "echo A=b > file; docker exec --env-file file c1 sh -c 'echo $A'", "b\n"
    ),
    Case("--help", "docker exec --help | head -1", None),
    Case("--interactive", UP + "echo x | docker exec -i c1 cat", "x\n"),
    Case(
        "--privileged",
        UP + "docker exec --privileged c1 grep CapEff /proc/self/status | "
        "diff - <(grep CapEff /proc/self/status) && echo all",
        "all\n",
    ),
    Case("--tty", UP + "docker exec -t c1 tty", "/dev/pts/0\n"),
    Case("--user", UP + "docker exec -u 7:8 c1 sh -c 'id -u; id -g'", "7\n8\n"),
    Case("--workdir", UP + "docker exec -w /etc c1 pwd", "/etc\n"),
)


def update(flag: str, options: str, v1: str, v2: str, out: str) -> Case:
    """A running container whose limit is another afterwards."""
    script = f"{UP}docker update {options} c1 >/dev/null\ndocker exec c1 sh -c '{LOOK} {v1} {v2}'"
    return Case(flag, script, out)


UPDATE = (
    depends(
        "--blkio-weight",
        f"{UP}docker update --blkio-weight 300 c1; docker exec c1 sh -c '{WEIGHTS}'",
        "^300$|^default 2930$|does not support Block I/O weight",
    ),
    update("--cpu-period", "--cpu-period 50000", "cpu cpu.cfs_period_us", "cpu.max", "50000\n"),
    update("--cpu-quota", "--cpu-quota 20000", "cpu cpu.cfs_quota_us", "cpu.max", "20000\n"),
    depends(
        "--cpu-rt-period",
        f"{UP}docker update --cpu-rt-period 1000 c1; "
        f"docker exec c1 sh -c '{LOOK} cpu cpu.rt_period_us x'",
        f"^1000$|{NO_REAL_TIME}",
    ),
    depends(
        "--cpu-rt-runtime",
        f"{UP}docker update --cpu-rt-runtime 900 c1",
        f"^c1$|{NO_REAL_TIME}",
    ),
    update("--cpu-shares", "-c 300", "cpu cpu.shares", "cpu.weight", "300\n"),
    update("--cpus", "--cpus 0.5", "cpu cpu.cfs_quota_us", "cpu.max", "50000\n"),
    update("--cpuset-cpus", "--cpuset-cpus 0", "cpuset cpuset.cpus", "cpuset.cpus", "0\n"),
    update("--cpuset-mems", "--cpuset-mems 0", "cpuset cpuset.mems", "cpuset.mems", "0\n"),
    Case("--help", "docker update --help | head -1", None),
    update(
        "--memory",
        "-m 64m --memory-swap -1",
        "memory memory.limit_in_bytes",
        "memory.max",
        "67108864\n",
    ),
    update(
        "--memory-reservation",
        "--memory-reservation 32m",
        "memory memory.soft_limit_in_bytes",
        "memory.low",
        "33554432\n",
    ),
    depends(
        "--memory-swap",
        f"{UP}docker update -m 64m --memory-swap 96m c1; "
        f"docker exec c1 sh -c '{LOOK} memory memory.memsw.limit_in_bytes memory.swap.max'",
        "^100663296$|^33554432$|does not support swap limit",
    ),
    update("--pids-limit", "--pids-limit 20", "pids pids.max", "pids.max", "20\n"),
    Case(
        "--restart",
        UP + "docker update --restart always c1 >/dev/null; "
        "docker exec c1 kill -9 1; docker exec c1 kill -TERM 1; "
        "docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' c1",
        "always\n",
    ),
)

COMMANDS = {"run": RUN, "exec": EXEC, "update": UPDATE}
