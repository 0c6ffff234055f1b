"""The table of ``tests/clients/test_stock_cli.py``."""

from __future__ import annotations

from support.cases import Case

UP = "docker run -d --name c1 busybox sleep 1000 >/dev/null\n"
DAEMON_SAID = "^docker: Error response from daemon: "
DENIED = r"(?i)Operation not permitted|Permission denied"

RUN = (
    Case("echo", "docker run --rm busybox echo hello", "hello\n"),
    Case(
        "stderr", "docker run --rm busybox sh -c 'echo out; echo oops >&2'", "out\n", err="^oops$"
    ),
    Case(
        "empty command",
        "docker run --rm --entrypoint '' busybox",
        code=125,
        err="[Nn]o command specified",
    ),
    Case("pipe into cat", "echo hi | docker run -i --rm busybox cat", "hi\n"),
    Case("stdin not asked for", "echo hi | docker run --rm busybox cat", ""),
    Case("large pipe", "head -c 5000000 /dev/zero | docker run -i --rm busybox wc -c", "5000000\n"),
    Case("large output", "docker run --rm busybox head -c 5000000 /dev/zero | wc -c", "5000000\n"),
    Case(
        "binary bytes",
        "printf '\\000\\377\\n\\r' | docker run -i --rm busybox od -c | head -1",
        "0000000  \\0 377  \\n  \\r\n",
    ),
    Case("no newline at the end", "docker run --rm busybox printf abc", "abc"),
    Case("uname", "docker run --rm busybox uname -sr | diff - <(uname -sr) && echo same", "same\n"),
    Case(
        "own process list",
        "docker run --rm busybox ps -o pid,args",
        "PID   COMMAND\n    1 ps -o pid,args\n",
    ),
    Case(
        "hostname is the short id",
        "docker run --name c1 busybox hostname > name; docker ps -aq | diff - name && echo same",
        "same\n",
    ),
    Case("hostname given", "docker run --rm --hostname h1 busybox hostname", "h1\n"),
    Case("hostname in hosts", "docker run --rm --hostname h1 busybox grep -c h1 /etc/hosts", "1\n"),
    Case(
        "domain name",
        "docker run --rm --hostname h1 --domainname d.test busybox hostname -f",
        "h1.d.test\n",
    ),
    Case(
        "add host",
        "docker run --rm --add-host x:10.9.8.7 busybox grep ^10.9 /etc/hosts",
        "10.9.8.7\tx\n",
    ),
    Case(
        "dns",
        "docker run --rm --dns 9.9.9.9 --dns-search a.test --dns-option ndots:2 busybox "
        "cat /etc/resolv.conf | grep -v '^#' | sort",
        "nameserver 9.9.9.9\noptions ndots:2\nsearch a.test\n",
    ),
    Case("entrypoint", "docker run --rm --entrypoint echo busybox a b", "a b\n"),
    Case("entrypoint emptied", "docker run --rm --entrypoint '' busybox echo a", "a\n"),
    Case(
        "cidfile",
        "docker run --cidfile id busybox true; docker ps -aq --no-trunc | "
        "diff - <(cat id; echo) && echo same",
        "same\n",
    ),
    Case(
        "cidfile exists",
        "touch id; docker run --cidfile id busybox true",
        code=125,
        err="[Cc]ontainer ID file found",
    ),
    Case("detached prints the id", "docker run -d busybox true", "<id>\n"),
    Case("rm removes", "docker run --rm --name c1 busybox true; docker ps -aq"),
    Case(
        "detached rm removes",
        "docker run -d --rm --name c1 busybox true >/dev/null; "
        "docker wait c1 >/dev/null 2>&1; for i in $(seq 100); do docker inspect c1 >/dev/null 2>&1"
        " || break; sleep .05; done; docker ps -aq",
    ),
    Case(
        "label",
        "docker run --name c1 --label a=b --label e busybox true; "
        "docker inspect -f '{{json .Config.Labels}}' c1",
        '{"a":"b","e":""}\n',
    ),
    Case(
        "name taken",
        "docker run --name c1 busybox true; docker run --name c1 busybox true",
        code=125,
        err=DAEMON_SAID + r'Conflict. The container name "/c1" is already in use',
    ),
    Case(
        "bad name",
        "docker run --name 'a b' busybox true",
        code=125,
        err=DAEMON_SAID + r"Invalid container name \(a b\)",
    ),
    Case(
        "pull never",
        "docker run --pull never nowhere true",
        code=125,
        err=DAEMON_SAID + "No such image: nowhere:latest",
    ),
    Case(
        "init is process 1",
        "docker run --rm --init busybox ps -o pid,comm | sed -n 2p | grep -vc ' ps$'",
        "1\n",
    ),
    Case("init passes the code on", "docker run --rm --init busybox sh -c 'exit 9'", code=9),
    Case(
        "init reaps",
        "docker run --rm --init busybox sh -c '(sleep 0.1 &); sleep 0.5; ps -o stat | grep -c Z'",
        "0\n",
        code=1,
    ),
)

EXIT_CODES = (
    Case("code 0", "docker run --rm busybox true"),
    Case("code 1", "docker run --rm busybox false", code=1),
    Case("code 42", "docker run --rm busybox sh -c 'exit 42'", code=42),
    Case(
        "code 125, bad flag",
        "docker run --nonsense busybox true",
        code=125,
        err="unknown flag: --nonsense",
    ),
    Case(
        "code 126, directory",
        "docker run --rm busybox /etc",
        code=126,
        err=DAEMON_SAID + '.*exec: "/etc": (permission denied|is a directory)',
    ),
    Case(
        "code 126, not executable",
        "docker run --rm busybox /etc/passwd",
        code=126,
        err='exec: "/etc/passwd": permission denied',
    ),
    Case(
        "code 127, not in PATH",
        "docker run --rm busybox nonesuch",
        code=127,
        err=r'exec: "nonesuch": executable file not found in \$PATH',
    ),
    Case(
        "code 127, no such path",
        "docker run --rm busybox /bin/nonesuch",
        code=127,
        err='exec: "/bin/nonesuch": stat /bin/nonesuch: no such file or directory',
    ),
    Case(
        "code 127 leaves a created container",
        "docker run --name c1 busybox nonesuch 2>/dev/null;"
        "docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' c1",
        "created 127\n",
    ),
    Case(
        "code 137",
        "docker run --name c1 busybox sh -c 'kill -9 $$'; echo $?;"
        "docker run --rm --init busybox sh -c 'kill -9 $$'; echo $?",
        "0\n137\n",
    ),
    Case("code 137 by kill", UP + "docker kill c1 >/dev/null; docker wait c1", "137\n"),
    Case(
        "code 143",
        UP.replace("sleep 1000", "sh -c 'sleep 1000 & wait'").replace("-d", "-d --init")
        + "docker kill -s TERM c1 >/dev/null; docker wait c1",
        "143\n",
    ),
    Case(
        "code of the run that is killed",
        "(for i in $(seq 100); do docker kill c1 >/dev/null 2>&1 && break; sleep .05; done) & "
        "docker run --name c1 busybox sleep 1000",
        code=137,
    ),
    Case(
        "signals are passed on",
        'docker run --name c1 busybox sh -c \'trap "exit 7" USR1; echo up; '
        "while :; do sleep .1; done' > out & p=$!; "
        "for i in $(seq 100); do grep -q up out && break; sleep .05; done; "
        "kill -USR1 $p; wait $p",
        code=7,
    ),
)

PROCESS = (
    Case(
        "env",
        "docker run --rm -e A=1 -e B busybox env | sort",
        "A=1\nHOME=/root\nHOSTNAME=<short id>\n"
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    ),
    Case("env from the client", "export B=2; docker run --rm -e B busybox sh -c 'echo $B'", "2\n"),
    Case(
        "env file",
        "printf '# no\\nA=1\\nB=x y\\n' > f; "
        "docker run --rm --env-file f busybox sh -c 'echo $A $B'",
        "1 x y\n",
    ),
    Case("env of a terminal", "docker run --rm -t busybox sh -c 'echo $TERM'", "xterm\n"),
    Case("workdir", "docker run --rm -w /tmp busybox pwd", "/tmp\n"),
    Case("workdir is made", "docker run --rm -w /new/one busybox pwd", "/new/one\n"),
    Case(
        "workdir not absolute",
        "docker run --rm -w new busybox pwd",
        code=125,
        err="the working directory 'new' is invalid, it needs to be an absolute path",
    ),
    Case(
        "user by name",
        "docker run --rm -u nobody busybox id",
        "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n",
    ),
    Case(
        "user by number",
        "docker run --rm -u 1234 busybox id",
        "uid=1234 gid=0(root) groups=0(root)\n",
    ),
    Case(
        "user and group",
        "docker run --rm -u daemon:tty busybox id",
        "uid=1(daemon) gid=5(tty) groups=5(tty)\n",
    ),
    Case("numbers of both", "docker run --rm -u 7:8 busybox id", "uid=7 gid=8 groups=8\n"),
    Case(
        "unknown user",
        "docker run --rm -u nonesuch busybox id",
        code=125,
        err="unable to find user nonesuch: no matching entries in passwd file",
    ),
    Case(
        "unknown group",
        "docker run --rm -u root:nonesuch busybox id",
        code=125,
        err="unable to find group nonesuch: no matching entries in group file",
    ),
    Case(
        "more groups",
        "docker run --rm --group-add tty --group-add 99 busybox id -G | tr ' ' '\\n'"
        " | grep -xc -e 5 -e 99",
        "2\n",
    ),
    Case("home of the user", "docker run --rm -u nobody busybox sh -c 'echo $HOME'", "/home\n"),
    Case(
        "capabilities",
        "docker run --rm busybox grep Cap /proc/self/status",
        "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n"
        "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n",
    ),
    Case(
        "capabilities of a user",
        "docker run --rm -u 7 busybox grep -e Prm -e Eff -e Bnd /proc/self/status",
        "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n",
    ),
    Case(
        "cap drop",
        "docker run --rm --cap-drop CHOWN --cap-drop net_raw busybox grep CapEff /proc/self/status",
        "CapEff:\t00000000a80405fa\n",
    ),
    Case(
        "cap drop all",
        "docker run --rm --cap-drop ALL busybox grep CapBnd /proc/self/status",
        "CapBnd:\t0000000000000000\n",
    ),
    Case(
        "cap drop all, add one",
        "docker run --rm --cap-drop ALL --cap-add CAP_CHOWN busybox grep CapEff /proc/self/status",
        "CapEff:\t0000000000000001\n",
    ),
    Case(
        "cap add",
        "docker run --rm --cap-add SYS_ADMIN busybox grep CapEff /proc/self/status",
        "CapEff:\t00000000a82425fb\n",
    ),
    Case(
        "unknown capability",
        "docker run --rm --cap-add NONESUCH busybox true",
        code=125,
        err='invalid CapAdd: unknown capability: "CAP_NONESUCH"',
    ),
    Case(
        "seccomp is on", "docker run --rm busybox grep ^Seccomp: /proc/self/status", "Seccomp:\t2\n"
    ),
    Case(
        "seccomp unconfined",
        "docker run --rm --security-opt seccomp=unconfined busybox "
        "grep ^Seccomp: /proc/self/status",
        "Seccomp:\t0\n",
    ),
    Case(
        "no new privileges",
        "docker run --rm --security-opt no-new-privileges busybox "
        "grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t1\n",
    ),
    Case("no mounting", "docker run --rm busybox mount -t tmpfs x /tmp", code=1, err=DENIED),
    Case("no unsharing", "docker run --rm busybox unshare -m true", code=1, err=DENIED),
    Case(
        "ulimit",
        "docker run --rm --ulimit nofile=100:200 busybox sh -c 'ulimit -Sn; ulimit -Hn'",
        "100\n200\n",
    ),
    Case(
        "ulimit in inspect",
        "docker run --name c1 --ulimit core=0 busybox true; "
        "docker inspect -f '{{json .HostConfig.Ulimits}}' c1",
        '[{"Name":"core","Hard":0,"Soft":0}]\n',
    ),
    Case(
        "sysctl",
        "docker run --rm --sysctl net.ipv4.ip_forward=1 busybox cat /proc/sys/net/ipv4/ip_forward",
        "1\n",
    ),
    Case(
        "sysctl of the host",
        "docker run --rm --sysctl kernel.panic=1 busybox true",
        None,
        code=125,
        err="sysctl .*kernel.panic",
    ),
    Case(
        "low ports",
        "docker run --rm busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "0\n",
    ),
    Case(
        "oom score",
        "docker run --rm --oom-score-adj 500 busybox cat /proc/self/oom_score_adj",
        "500\n",
    ),
    Case(
        "pid of the host",
        "docker run --rm --pid host busybox sh -c 'test $$ -gt 1 && echo yes'",
        "yes\n",
    ),
    Case(
        "pid of another",
        UP + "docker run --rm --pid container:c1 busybox ps -o pid,args | sed -n 2p",
        "    1 sleep 1000\n",
    ),
    Case(
        "uts of the host",
        "docker run --rm --uts host busybox hostname | diff - <(hostname) && echo same",
        "same\n",
    ),
)

FILES = (
    Case(
        "read-only",
        "docker run --rm --read-only busybox touch /x",
        code=1,
        err="Read-only file system",
    ),
    Case("read-only, tmpfs", "docker run --rm --read-only --tmpfs /tmp busybox touch /tmp/x"),
    Case(
        "tmpfs options",
        "docker run --rm --tmpfs /t:size=1m,mode=700 busybox sh -c "
        '\'grep " /t " /proc/mounts | tr ", " "\\n\\n" | '
        "grep -e size -e nosuid -e noexec; stat -c %a /t'",
        "nosuid\nnoexec\nsize=1024k\n700\n",
    ),
    Case(
        "shm size",
        "docker run --rm --shm-size 1m busybox df -k /dev/shm | awk 'NR==2{print $2}'",
        "1024\n",
    ),
    Case(
        "shm size by default",
        "docker run --rm busybox df -k /dev/shm | awk 'NR==2{print $2}'",
        "65536\n",
    ),
    Case(
        "bind",
        "echo x > f; docker run --rm -v $PWD:/m busybox sh -c 'cat /m/f; echo y > /m/g'; cat g",
        "x\ny\n",
    ),
    Case(
        "bind read-only",
        "docker run --rm -v $PWD:/m:ro busybox touch /m/g",
        code=1,
        err="Read-only file system",
    ),
    Case(
        "bind of a file",
        "echo x > f; docker run --rm -v $PWD/f:/etc/some/f busybox cat /etc/some/f",
        "x\n",
    ),
    Case(
        "bind makes the source", "docker run --rm -v $PWD/new:/m busybox true; ls -d new", "new\n"
    ),
    Case(
        "mount bind",
        "echo x > f; docker run --rm --mount type=bind,src=$PWD,dst=/m,readonly busybox cat /m/f",
        "x\n",
    ),
    Case(
        "mount bind, no source",
        "docker run --rm --mount type=bind,src=$PWD/none,dst=/m busybox true",
        code=125,
        err="bind source path does not exist",
    ),
    Case(
        "mount tmpfs",
        "docker run --rm --mount type=tmpfs,dst=/m,tmpfs-size=1048576 busybox "
        "df -k /m | awk 'NR==2{print $1, $2}'",
        "tmpfs 1024\n",
    ),
    Case(
        "relative destination",
        "docker run --rm -v $PWD:m busybox true",
        code=125,
        err="invalid volume specification|invalid mount|mount path must be absolute",
    ),
    Case(
        "two mounts at one place",
        "docker run --rm -v $PWD:/m -v /tmp:/m busybox true",
        code=125,
        err="Duplicate mount point: /m",
    ),
    Case(
        "devices",
        "docker run --rm busybox sh -c 'cd /dev; ls' | grep -v core",
        "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\n"
        "urandom\nzero\n",
    ),
    Case("console of a terminal", "docker run --rm -t busybox ls /dev/console", "/dev/console\n"),
    Case(
        "null works",
        "docker run --rm busybox sh -c 'echo x > /dev/null; head -c 3 /dev/zero | wc -c'",
        "3\n",
    ),
    Case(
        "device given",
        "docker run --rm --device /dev/null:/dev/other busybox sh -c "
        "'echo x > /dev/other; stat -c %t:%T /dev/other'",
        "1:3\n",
    ),
    Case(
        "device not given",
        "docker run --rm busybox sh -c 'mknod /x c 10 229 && cat /x'",
        code=1,
        err=DENIED,
    ),
    Case(
        "nothing is masked",
        "docker run --rm --security-opt systempaths=unconfined busybox "
        "grep -c ' /proc/' /proc/mounts",
        "0\n",
        code=1,
    ),
    Case(
        "shared memory of another container",
        "docker run -d --name c1 --ipc shareable busybox sh -c 'echo x > /dev/shm/x; sleep 1000' "
        ">/dev/null; sleep 0.5; docker run --rm --ipc container:c1 busybox cat /dev/shm/x",
        "x\n",
    ),
    Case(
        "shared memory of one that does not share",
        UP + "docker run --rm --ipc container:c1 busybox true",
        code=125,
        err="non-shareable IPC",
    ),
    Case(
        "proc is masked",
        "docker run --rm busybox sh -c "
        "'cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c'",
        "0\n",
    ),
    Case(
        "proc is read-only",
        "docker run --rm busybox sh -c 'echo 1 > /proc/sys/vm/panic_on_oom'",
        code=1,
        err="Read-only file system",
    ),
    Case(
        "sys is read-only",
        "docker run --rm busybox touch /sys/kernel/x",
        code=1,
        err="Read-only file system|Permission denied|Operation not permitted",
    ),
    Case(
        "privileged",
        "docker run --rm --privileged busybox sh -c "
        "'mount -t tmpfs x /tmp && mount | grep -c \"x on /tmp\"'",
        "1\n",
        full_root=True,
    ),
    Case(
        "privileged is unfiltered",
        "docker run --rm --privileged busybox grep ^Seccomp: /proc/self/status",
        "Seccomp:\t0\n",
        full_root=True,
    ),
    Case(
        "resolv.conf of the host",
        "docker run --rm busybox cat /etc/resolv.conf | grep -c nameserver | sed 's/[1-9]/some/'",
        "some\n",
    ),
    Case(
        "files are kept",
        "docker run --name c1 busybox sh -c 'echo $((1+$(cat /n 2>/dev/null || "
        "echo 0))) > /n; cat /n'; docker start -a c1",
        "1\n2\n",
    ),
    Case(
        "anonymous volume",
        "docker run --rm -v /data busybox sh -c 'echo x > /data/x; cat /data/x'",
        "x\n",
    ),
    Case(
        "named volume",
        "docker run --rm -v v1:/data busybox sh -c 'echo x > /data/x'; "
        "docker run --rm -v v1:/data busybox cat /data/x; docker volume rm v1",
        "x\nv1\n",
    ),
    Case(
        "volumes from another",
        "docker run -v /data --name c1 busybox sh -c 'echo x > /data/x'; "
        "docker run --rm --volumes-from c1 busybox cat /data/x; docker rm -v c1",
        "x\nc1\n",
    ),
)

LIMITS = (
    Case(
        "memory",
        "docker run --rm -m 64m busybox sh -c 'cd /sys/fs/cgroup; "
        "cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max'",
        "67108864\n",
    ),
    Case(
        "pids",
        "docker run --rm --pids-limit 20 busybox sh -c 'cd /sys/fs/cgroup; "
        "cat pids/pids.max 2>/dev/null || cat pids.max'",
        "20\n",
    ),
    Case(
        "pids are limited",
        "docker run --rm --pids-limit 5 busybox sh -c "
        "'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait' 2>&1 | grep -c fork | "
        "sed 's/[1-9]/some/'",
        "some\n",
    ),
    Case(
        "cpus",
        "docker run --rm --cpus 0.5 busybox sh -c 'cd /sys/fs/cgroup; "
        'cat cpu/cpu.cfs_quota_us 2>/dev/null || cut -d" " -f1 cpu.max\'',
        "50000\n",
    ),
    Case(
        "out of memory",
        "docker run --name c1 -m 16m --memory-swap 16m busybox sh -c "
        "'head -c 100m /dev/zero | tail' >/dev/null 2>&1; "
        "docker inspect -f '{{.State.OOMKilled}}' c1",
        "true\n",
    ),
    Case(
        "too little memory",
        "docker run --rm -m 1m busybox true",
        code=125,
        err="Minimum memory limit allowed is 6MB",
    ),
    Case(
        "swap below memory",
        "docker run --rm -m 20m --memory-swap 10m busybox true",
        code=125,
        err="Minimum memoryswap limit should be larger than memory limit",
    ),
    Case(
        "too many cpus",
        "docker run --rm --cpus 1000 busybox true",
        code=125,
        err="ange of CPUs is from 0.01 to",
    ),
)

LIFE = (
    Case(
        "create and start",
        "docker create --name c1 busybox echo hi; docker start -a c1",
        "<id>\nhi\n",
    ),
    Case(
        "start prints the name",
        "docker create --name c1 busybox true >/dev/null; docker start c1",
        "c1\n",
    ),
    Case("start of nothing", "docker start nonesuch", code=1, err="No such container: nonesuch"),
    Case(
        "start with code",
        "docker create --name c1 busybox sh -c 'exit 3' >/dev/null; docker start -a c1",
        code=3,
    ),
    Case(
        "stop by signal",
        'docker run -d --name c1 busybox sh -c \'trap "exit 5" TERM; '
        "while :; do sleep .1; done' >/dev/null; sleep .3; docker stop c1; docker wait c1",
        "c1\n5\n",
    ),
    Case("stop by force", UP + "docker stop -t 0 c1; docker wait c1", "c1\n137\n"),
    Case(
        "stop signal",
        "docker run -d --name c1 --stop-signal USR1 busybox sh -c "
        "'trap \"exit 6\" USR1; while :; do sleep .1; done' >/dev/null; sleep .3; "
        "docker stop c1; docker wait c1",
        "c1\n6\n",
    ),
    Case("stop twice", UP + "docker stop -t 0 c1; docker stop c1", "c1\nc1\n"),
    Case(
        "kill with a signal",
        'docker run -d --name c1 busybox sh -c \'trap "exit 8" HUP; '
        "while :; do sleep .1; done' >/dev/null; sleep .3; docker kill -s HUP c1; docker wait c1",
        "c1\n8\n",
    ),
    Case(
        "kill of a stopped one",
        "docker run --name c1 busybox true; docker kill c1",
        code=1,
        err="is not running",
    ),
    Case(
        "kill with nonsense",
        UP + "docker kill -s NONESUCH c1",
        code=1,
        err="[Ii]nvalid signal: NONESUCH",
    ),
    Case(
        "restart",
        "docker run -d --name c1 busybox sh -c 'echo up; sleep 1000' >/dev/null; "
        "docker restart -t 0 c1; sleep .3; docker logs c1",
        "c1\nup\nup\n",
    ),
    Case(
        "pause",
        UP + "docker pause c1; docker ps --format '{{.State}} {{.Status}}'; docker exec c1 true",
        "c1\npaused Up <duration> (Paused)\n",
        code=1,
        err="is paused",
    ),
    Case(
        "unpause", UP + "docker pause c1; docker unpause c1; docker exec c1 echo hi", "c1\nc1\nhi\n"
    ),
    Case(
        "pause twice",
        UP + "docker pause c1; docker pause c1",
        "c1\n",
        code=1,
        err="is already paused",
    ),
    Case("unpause of a running one", UP + "docker unpause c1", code=1, err="is not paused"),
    Case("rename", UP + "docker rename c1 d1; docker ps --format '{{.Names}}'", "d1\n"),
    Case(
        "rename to a taken name",
        UP + "docker create --name d1 busybox true >/dev/null; docker rename c1 d1",
        code=1,
        err="Conflict.*already in use",
    ),
    Case(
        "wait",
        "docker run -d --name c1 busybox sh -c 'sleep .2; exit 4' >/dev/null; docker wait c1 c1",
        "4\n4\n",
    ),
    Case("rm", "docker run --name c1 busybox true; docker rm c1; docker ps -aq", "c1\n"),
    Case(
        "rm of a running one",
        UP + "docker rm c1",
        code=1,
        err="[Yy]ou cannot remove a running container|cannot remove container .*running",
    ),
    Case("rm by force", UP + "docker rm -f c1; docker ps -aq", "c1\n"),
    Case("rm of nothing", "docker rm nonesuch", code=1, err="No such container: nonesuch"),
    Case("rm of nothing by force", "docker rm -f nonesuch", None, err="No such container"),
    Case(
        "several, one missing",
        "docker run --name a1 busybox true; docker rm a1 nonesuch",
        "a1\n",
        code=1,
        err="No such container: nonesuch",
    ),
    Case(
        "prune",
        "docker run --name c1 busybox true; docker container prune -f",
        "Deleted Containers:\n<id>\n\nTotal reclaimed space: 0B\n",
    ),
    Case(
        "restart on failure",
        "docker run -d --name c1 --restart on-failure:2 busybox sh -c "
        "'echo run; exit 1' >/dev/null; for i in $(seq 100); do "
        "docker inspect -f '{{.State.Status}} {{.RestartCount}}' c1 > s; grep -q 'exited 2' s && "
        "break; sleep .1; done; cat s; docker logs c1",
        "exited 2\nrun\nrun\nrun\n",
    ),
    Case(
        "restart always",
        "docker run -d --name c1 --restart always busybox sh -c 'sleep .1' "
        ">/dev/null; for i in $(seq 100); do [ $(docker inspect -f '{{.RestartCount}}' c1) -gt 1 ] "
        "&& break; sleep .1; done; docker stop c1; docker inspect -f '{{.State.Status}}' c1",
        "c1\nexited\n",
    ),
    Case(
        "restart and rm conflict",
        "docker run --rm --restart always busybox true",
        code=125,
        err="conflicting options",
    ),
    Case(
        "prefix of the id",
        UP + "id=$(docker ps -q); docker inspect -f '{{.Name}}' ${id:0:4}",
        "/c1\n",
    ),
)

EXEC = (
    Case("exec", UP + "docker exec c1 echo hi", "hi\n"),
    Case("exec stdin", UP + "echo hi | docker exec -i c1 cat", "hi\n"),
    Case("exec code", UP + "docker exec c1 sh -c 'exit 9'", code=9),
    Case("exec stderr", UP + "docker exec c1 sh -c 'echo a; echo b >&2'", "a\n", err="^b$"),
    Case("exec user", UP + "docker exec -u nobody c1 id -un", "nobody\n"),
    Case("exec workdir", UP + "docker exec -w /tmp c1 pwd", "/tmp\n"),
    Case("exec env", UP + "docker exec -e A=5 c1 sh -c 'echo $A'", "5\n"),
    Case(
        "exec keeps the env",
        "docker run -d --name c1 -e A=1 busybox sleep 1000 >/dev/null; "
        "docker exec c1 sh -c 'echo $A'",
        "1\n",
    ),
    Case(
        "exec capabilities",
        UP + "docker exec c1 grep CapEff /proc/self/status",
        "CapEff:\t00000000a80425fb\n",
    ),
    Case("exec seccomp", UP + "docker exec c1 grep ^Seccomp: /proc/self/status", "Seccomp:\t2\n"),
    Case(
        "exec detached",
        UP + "docker exec -d c1 touch /x; for i in $(seq 50); do "
        "docker exec c1 test -e /x && break; sleep .05; done; docker exec c1 ls /x",
        "/x\n",
    ),
    Case(
        "exec sees the container",
        UP + "docker exec c1 ps -o args | head -2",
        "COMMAND\nsleep 1000\n",
    ),
    Case(
        "exec of nothing",
        UP + "docker exec c1 nonesuch 2>&1 | grep -c "
        "'exec: \"nonesuch\": executable file not found in $PATH'",
        "1\n",
    ),
    Case(
        "exec in a stopped one",
        "docker run --name c1 busybox true; docker exec c1 true",
        code=1,
        err="is not running",
    ),
    Case("exec in none", "docker exec nonesuch true", code=1, err="No such container: nonesuch"),
    Case("exec code 137", UP + "docker exec c1 sh -c 'kill -9 $$'", code=137),
    Case(
        "exec large pipe", UP + "head -c 3000000 /dev/zero | docker exec -i c1 wc -c", "3000000\n"
    ),
)

LOOK = (
    Case(
        "logs",
        "docker run --name c1 busybox sh -c 'echo a; echo b >&2'; echo -; "
        "docker logs c1 2>/dev/null; docker logs c1 2>&1 >/dev/null",
        "a\n-\na\nb\n",
        err="^b$",
    ),
    Case(
        "logs tail",
        "docker run --name c1 busybox seq 10 >/dev/null; docker logs --tail 2 c1",
        "9\n10\n",
    ),
    Case("logs tail none", "docker run --name c1 busybox seq 10 >/dev/null; docker logs -n 0 c1"),
    Case(
        "logs timestamps",
        "docker run --name c1 busybox echo a >/dev/null; docker logs -t c1",
        "<time> a\n",
    ),
    Case(
        "logs follow",
        "docker run -d --name c1 busybox sh -c 'for i in 1 2 3; do echo $i; sleep .2;"
        " done' >/dev/null; docker logs -f c1",
        "1\n2\n3\n",
    ),
    Case(
        "logs since",
        "docker run --name c1 busybox sh -c 'echo a; sleep 2; echo b' >/dev/null; "
        "docker logs --since 1s c1",
        "b\n",
    ),
    Case(
        "logs until",
        "docker run --name c1 busybox echo a >/dev/null; "
        "docker logs --until 2020-01-01T00:00:00Z c1",
    ),
    Case(
        "logs details",
        "docker run --name c1 --label a=b --log-opt labels=a busybox echo x "
        ">/dev/null; docker logs --details c1",
        "a=b x\n",
    ),
    Case("logs of nothing", "docker logs nonesuch", code=1, err="No such container: nonesuch"),
    Case(
        "logs without a log",
        "docker run --name c1 --log-driver none busybox echo a; docker logs c1",
        "a\n",
        code=1,
        err="configured logging driver does not support reading",
    ),
    Case(
        "logs rotate",
        "docker run --name c1 --log-opt max-size=10k --log-opt max-file=2 busybox "
        "seq 2000 >/dev/null; docker logs c1 | tail -1; "
        "ls $(dirname $(docker inspect -f '{{.LogPath}}' c1)) | grep -c 'json.log'",
        "2000\n2\n",
    ),
    Case(
        "ps",
        UP + "docker ps | sed 's/  */ /g'",
        "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES\n"
        '<short id> busybox "sleep 1000" <duration> ago Up <duration> c1\n',
    ),
    Case("ps quiet", UP + "docker ps -q", "<short id>\n"),
    Case("ps without any", "docker ps -q"),
    Case(
        "ps all",
        "docker run --name c1 busybox sh -c 'exit 3'; "
        "docker ps -a --format '{{.Names}} {{.Status}}'",
        "c1 Exited (3) <duration> ago\n",
    ),
    Case(
        "ps created",
        "docker create --name c1 busybox true >/dev/null; "
        "docker ps -a --format '{{.State}} {{.Status}}'",
        "created Created\n",
    ),
    Case(
        "ps format",
        UP + "docker ps --format '{{.Image}}|{{.Command}}|{{.Names}}|{{.State}}'",
        'busybox|"sleep 1000"|c1|running\n',
    ),
    Case(
        "ps filter name",
        UP + "docker run -d --name d1 busybox sleep 1000 >/dev/null; "
        "docker ps --filter name=d1 --format '{{.Names}}'",
        "d1\n",
    ),
    Case(
        "ps filter label",
        UP + "docker run -d --name d1 --label a=b busybox sleep 1000 >/dev/null;"
        "docker ps --filter label=a=b --format '{{.Names}}'",
        "d1\n",
    ),
    Case(
        "ps filter status",
        UP + "docker run --name d1 busybox true; "
        "docker ps -a --filter status=exited --format '{{.Names}}'",
        "d1\n",
    ),
    Case(
        "ps filter exited",
        "docker run --name c1 busybox false; docker run --name d1 busybox true; "
        "docker ps -a --filter exited=1 --format '{{.Names}}'",
        "c1\n",
    ),
    Case(
        "ps filter ancestor",
        UP + "docker ps --filter ancestor=busybox --format '{{.Names}}'",
        "c1\n",
    ),
    Case("ps bad filter", "docker ps --filter nonesuch=1", code=1, err="[Ii]nvalid filter"),
    Case(
        "ps last",
        "for n in a1 b1 c1; do docker create --name $n busybox true >/dev/null; done; "
        "docker ps -n 2 --format '{{.Names}}'",
        "c1\nb1\n",
    ),
    Case("top", UP + "docker top c1 -o pid,args | tail -1 | sed 's/^[0-9]* *//'", "sleep 1000\n"),
    Case(
        "top columns",
        UP + "docker top c1 | head -1 | sed 's/  */ /g'",
        "UID PID PPID C STIME TTY TIME CMD\n",
    ),
    Case(
        "top of a stopped one",
        "docker run --name c1 busybox true; docker top c1",
        code=1,
        err="is not running",
    ),
    Case(
        "inspect fields",
        "docker run --name c1 -m 64m busybox sh -c 'exit 3'; docker inspect -f "
        "'{{.Name}} {{.Path}} {{.Args}} {{.State.Status}} {{.State.ExitCode}} {{.State.Pid}} "
        "{{.HostConfig.Memory}} {{.Config.Image}} {{.Driver}}' c1 | sed 's/overlay2\\?$/D/'",
        "/c1 sh [-c exit 3] exited 3 0 67108864 busybox D\n",
        code=0,
    ),
    Case(
        "inspect of nothing",
        "docker inspect nonesuch",
        "[]\n",
        code=1,
        err="No such object: nonesuch",
    ),
    Case(
        "inspect type",
        "docker inspect --type image -f '{{json .RepoTags}}' busybox",
        '["busybox:latest"]\n',
    ),
    Case("inspect size", UP + "docker inspect -s -f '{{.SizeRw}}' c1", "0\n"),
    Case(
        "events",
        "sleep 1.1; since=$(date +%s); docker run --name c1 busybox true; docker rm c1 >/dev/null; "
        "docker events --since $since --until $(($(date +%s)+1)) --filter type=container "
        "--format '{{.Action}} {{.Actor.Attributes.name}}'",
        "create c1\nattach c1\nstart c1\ndie c1\ndestroy c1\n",
    ),
    Case(
        "events of exec",
        UP + "since=$(date +%s); sleep 1; docker exec c1 true; sleep .2; "
        "docker events --since $since --until $(($(date +%s)+1)) --format '{{.Action}}' | "
        "grep exec",
        "exec_create: true \nexec_start: true \nexec_die\n",
    ),
    Case("port of none", UP + "docker port c1"),
    Case("version", "docker version --format '{{.Server.Os}} {{.Server.Arch}}'", "linux amd64\n"),
    Case(
        "info",
        "docker info --format '{{.OSType}} {{.Containers}} {{.LoggingDriver}}'",
        "linux 0 json-file\n",
    ),
)

IMAGES = (
    Case(
        "images",
        "docker images --format '{{.Repository}}:{{.Tag}} {{.ID}}'",
        "busybox:latest <short id>\n",
    ),
    Case(
        "images columns",
        "docker images | head -1 | sed 's/  */ /g'",
        "REPOSITORY TAG IMAGE ID CREATED SIZE\n",
    ),
    Case("images of nothing", "docker images -q nonesuch"),
    Case(
        "tag and untag",
        "docker tag busybox x/y:1; docker images --format '{{.Repository}}:{{.Tag}}'"
        " | sort; docker rmi x/y:1",
        "busybox:latest\nx/y:1\nUntagged: x/y:1\n",
    ),
    Case("tag of nothing", "docker tag nonesuch x", code=1, err="No such image: nonesuch"),
    Case("rmi of nothing", "docker rmi nonesuch", code=1, err="No such image: nonesuch"),
    Case(
        "rmi of a used one",
        "docker create --name c1 busybox true >/dev/null; docker rmi busybox",
        code=1,
        err="conflict: unable to remove repository reference",
    ),
    Case(
        "import from stdin",
        "mkdir r; echo x > r/f; tar -C r -c . | docker import - t; "
        "docker create --name c1 t /f >/dev/null; docker rmi -f t | wc -l | sed 's/[23]/some/'",
        "sha256:<id>\nsome\n",
    ),
    Case(
        "import with changes",
        "mkdir r; tar -C r -c . | docker import -m why -c 'CMD [\"a\"]' "
        "-c 'ENV A=b' -c 'WORKDIR /w' -c 'USER 7' - t >/dev/null; docker inspect -f "
        "'{{.Config.Cmd}} {{.Config.Env}} {{.Config.WorkingDir}} {{.Config.User}} {{.Comment}}' t; "
        "docker rmi t >/dev/null",
        "[a] [A=b] /w 7 why\n",
    ),
    Case(
        "import compressed",
        "mkdir r; echo x > r/f; tar -C r -cz . | docker import - t >/dev/null;"
        "docker history -q t | wc -l; docker rmi t >/dev/null",
        "1\n",
    ),
    Case(
        "import of garbage",
        "echo garbage | docker import - t",
        code=1,
        err="tar|archive|[Uu]nexpected EOF",
    ),
    Case(
        "history", "docker history --format '{{.Comment}}' busybox | cut -c1-13", "Imported from\n"
    ),
    Case(
        "load of an archive",
        'docker load -i "$TEST_ARCHIVE"; '
        "docker run --rm loaded:1 echo hi; docker rmi loaded:1 >/dev/null",
        "Loaded image: loaded:1\nhi\n",
    ),
    Case(
        "load from stdin",
        'docker load -q < "$TEST_ARCHIVE"; docker rmi loaded:1 >/dev/null',
        "Loaded image: loaded:1\n",
    ),
)

NETWORK = (
    Case("none", "docker run --rm --network none busybox ls /sys/class/net", "lo\n"),
    Case(
        "host",
        "docker run --rm --network host busybox ls /sys/class/net | "
        "diff - <(ls /sys/class/net) && echo same",
        "same\n",
    ),
    Case("bridge", "docker run --rm busybox ls /sys/class/net", "eth0\nlo\n"),
    Case(
        "loopback is up",
        "docker run --rm --network none busybox ping -c 1 -q 127.0.0.1 | "
        "grep -c '1 packets received'",
        "1\n",
    ),
    Case(
        "address",
        "docker run -d --name c1 busybox sleep 1000 >/dev/null; docker inspect -f "
        "'{{.NetworkSettings.IPAddress}}' c1 | diff - <(docker exec c1 hostname -i) && echo same",
        "same\n",
    ),
    Case(
        "gateway",
        "docker run -d --name c1 busybox sleep 1000 >/dev/null; docker inspect -f "
        "'{{.NetworkSettings.Gateway}}' c1 | diff - <(docker exec c1 ip route | "
        "awk '/^default/{print $3}') && echo same",
        "same\n",
    ),
    Case(
        "gateway answers",
        "docker run --rm busybox sh -c 'ping -c 1 -q $(ip route | "
        "awk \"/^default/{print \\$3}\")' | grep -c '1 packets received'",
        "1\n",
    ),
    Case(
        "two meet",
        "docker run -d --name c1 busybox sleep 1000 >/dev/null; docker run --rm busybox "
        "ping -c 1 -q $(docker inspect -f '{{.NetworkSettings.IPAddress}}' c1) | "
        "grep -c '1 packets received'",
        "1\n",
    ),
    Case(
        "network of another",
        "docker run -d --name c1 busybox sleep 1000 >/dev/null; "
        "docker run --rm --network container:c1 busybox hostname -i | "
        "diff - <(docker exec c1 hostname -i) && echo same",
        "same\n",
    ),
    Case(
        "network of nobody",
        "docker run --rm --network container:nonesuch busybox true",
        code=125,
        err="No such container: nonesuch",
    ),
    Case(
        "network ls",
        "docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}}' | sort",
        "bridge bridge local\nhost host local\nnone null local\n",
    ),
    Case(
        "unknown network",
        "docker run --rm --network nonesuch busybox true",
        code=125,
        err="network nonesuch not found",
    ),
)

HEALTH_UNTIL = (
    "until docker inspect -f '{{.State.Health.Status}}' c1 | grep -qx %s; do sleep 0.1; done\n"
)
HEALTH = (
    Case(
        "healthy",
        "docker run -d --name c1 --health-cmd 'echo fine' --health-interval 200ms "
        "busybox sleep 1000 >/dev/null; docker ps --format '{{.Status}}' | grep -c starting\n"
        + HEALTH_UNTIL
        % "healthy"
        + "docker ps --format '{{.Status}}'; docker ps -q --filter health=healthy | wc -l\n"
        "docker inspect -f '{{.State.Health.FailingStreak}} {{with index .State.Health.Log 0}}"
        "{{.ExitCode}} {{.Output}}{{end}}' c1\n"
        "docker inspect -f '{{json .State.Health}}' c1 | grep -o '\"[A-Za-z]*\":' | sort -u",
        "1\nUp <duration> (healthy)\n1\n0 0 fine\n\n"
        '"End":\n"ExitCode":\n"FailingStreak":\n"Log":\n"Output":\n"Start":\n"Status":\n',
    ),
    Case(
        "unhealthy",
        "docker run -d --name c1 --health-cmd 'echo bad; exit 7' --health-interval 200ms "
        "--health-retries 2 busybox sleep 1000 >/dev/null\n"
        + HEALTH_UNTIL
        % "unhealthy"
        + "docker inspect -f '{{with index .State.Health.Log 1}}{{.ExitCode}} {{.Output}}{{end}}' "
        "c1; docker ps --format '{{.Status}}'",
        "7 bad\n\nUp <duration> (unhealthy)\n",
    ),
    Case(
        "health of what is paused, and over",
        "docker run -d --name c1 --health-cmd true --health-interval 200ms "
        "busybox sleep 1000 >/dev/null\n"
        + HEALTH_UNTIL
        % "healthy"
        + "docker pause c1; docker inspect -f '{{.State.Health.Status}}' c1; "
        "docker ps --format '{{.Status}}'; docker unpause c1\n"
        + HEALTH_UNTIL % "healthy"
        + "docker stop -t 0 c1; docker inspect -f '{{.State.Health.Status}}' c1",
        "c1\nunhealthy\nUp <duration> (Paused)\nc1\nc1\nunhealthy\n",
    ),
    Case(
        "a probe that takes too long",
        "docker run -d --name c1 --health-cmd 'echo slow; sleep 100' --health-interval 200ms "
        "--health-timeout 1s --health-retries 1 busybox sleep 1000 >/dev/null\n"
        + HEALTH_UNTIL
        % "unhealthy"
        + "docker inspect -f '{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}' c1 | "
        "grep -o '.*exceeded timeout ([1s]*)'",
        "-1 Health check exceeded timeout (1s)\n",
    ),
    Case(
        "no health check",
        "docker run -d --name c1 --no-healthcheck busybox sleep 1000 >/dev/null; "
        "docker inspect -f '{{json .State.Health}}' c1 || echo none",
        None,
    ),
)

CASES = (
    *RUN,
    *EXIT_CODES,
    *PROCESS,
    *FILES,
    *LIMITS,
    *LIFE,
    *EXEC,
    *LOOK,
    *IMAGES,
    *NETWORK,
    *HEALTH,
)
