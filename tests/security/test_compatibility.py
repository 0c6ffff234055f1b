"""The twins of the restrictions: what must still work in a container with the defaults.

Programs that change who they are, make sockets, trace their children, talk over shared memory,
or were made for 32 bits: none of them may notice that it is contained.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.attackers import PYTHON, python_flags
from support.engine import Engine

SHELL = ("busybox", "sh", "-c")

COMMANDS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "chown and chmod": ((), "touch f; chown 5:6 f; chmod 4750 f; stat -c '%u %g %a' f", "5 6 4750"),
    "another user": (("-u", "nobody"), "id -u", "65534"),
    "another user's groups": (("-u", "daemon", "--group-add", "tty"), "id -G", "1 5"),
    "busybox's ping": (
        ("--cap-add", "NET_RAW"),
        "ping -c 1 -W 2 127.0.0.1 | grep -c '1 packets received'",
        "1",
    ),
    "a node of one's own": (
        ("--cap-add", "MKNOD"),
        "mknod n c 1 3; echo x > n && mknod z c 1 5 && head -c 4 z | wc -c", "4"),
    "the standard devices": (
        (), "for d in null zero full random urandom tty; do [ -c /dev/$d ] && echo $d; done | wc -l",
        "6"),
    "/dev/shm": ((), "echo hello > /dev/shm/x && cat /dev/shm/x", "hello"),
    "/dev/fd and /dev/stdout": ((), "echo a > /dev/stdout; echo b | cat /dev/fd/0", "a\nb"),
    "ulimits": (("--ulimit", "nofile=100:200"), "ulimit -Sn; ulimit -Hn", "100\n200"),
    "lowering a limit": ((), "ulimit -n 50; ulimit -n", "50"),
    "chroot": ((), "mkdir -p r/bin; cp /bin/busybox r/bin; chroot r /bin/busybox echo in", "in"),
    "signals": ((), "sleep 9 & kill -9 $!; wait $!; echo $?", "137"),
    "its own host name": (("-h", "box"), "hostname", "box"),
    "mounted files are changed": ((), "echo 1.2.3.4 x >> /etc/hosts; tail -n 1 /etc/hosts", "1.2.3.4 x"),
    "a read-only root": (("--read-only", "--tmpfs", "/t"), "touch /t/x; touch /x 2>&1 | wc -l", "1"),
    "procfs is read": ((), "cat /proc/meminfo /proc/cpuinfo /proc/sys/kernel/osrelease | wc -l | grep -vc '^0'", "1"),
    "its own sysctl": (
        ("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.shm_rmid_forced=1"),
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced", "1\n1"),
    "no terminal is needed for a session": ((), "setsid echo new | cat", "new"),
    "a FIFO and a socket file": ((), "mkfifo f; (echo x > f &); cat f", "x"),
}  # fmt: skip
"""What is done, by flags and a command, and what that prints."""


@pytest.mark.parametrize("name", COMMANDS)
def test_shell(engine: Engine, name: str) -> None:
    flags, command, output = COMMANDS[name]
    assert engine.docker("run", "--rm", *flags, *SHELL, f"cd /tmp; {command}") == output


SETUID = """\
echo 'root::0:0:root:/root:/bin/sh' > /etc/passwd
echo 'user:x:1000:1000::/tmp:/bin/sh' >> /etc/passwd
cp /bin/busybox /bin/busybox-su; chmod 4755 /bin/busybox-su; rm /bin/su
printf '#!/bin/sh\\nexec /bin/busybox-su su "$@"\\n' > /bin/su; chmod 755 /bin/su
sleep 100
"""


@pytest.fixture(scope="module")
def with_su(engine: Engine) -> Iterator[Engine]:
    """A container with a user 1000 and a set-user-ID su."""
    engine.docker("run", "-d", "--name", "su", *SHELL, SETUID)
    while engine.cli("exec", "su", "test", "-x", "/bin/busybox-su").returncode:
        pass
    yield engine
    engine.docker("rm", "-f", "su")


def test_su_makes_root_of_a_user(with_su: Engine) -> None:
    assert with_su.docker("exec", "-u", "user", "su", "id", "-u") == "1000"
    assert with_su.docker("exec", "-u", "user", "su", "busybox-su", "su", "-c", "id -u") == "0"


def test_su_makes_a_user_of_root(with_su: Engine) -> None:
    assert with_su.docker("exec", "su", "busybox-su", "su", "user", "-c", "id -u") == "1000"


def test_su_is_powerless_without_new_privileges(engine: Engine) -> None:
    """The restriction to this permission, where it is asked for."""
    engine.docker("run", "-d", "--name", "nnp", "--security-opt", "no-new-privileges",
                  *SHELL, SETUID)  # fmt: skip
    while engine.cli("exec", "nnp", "test", "-x", "/bin/busybox-su").returncode:
        pass
    done = engine.cli("exec", "-u", "user", "nnp", "busybox-su", "su", "-c", "id -u")
    engine.docker("rm", "-f", "nnp")
    assert "0" not in done.stdout.split()


PROGRAMS: dict[str, str] = {
    "apt's way to be somebody else": """
import os
os.setgroups([65534])
os.setresgid(65534, 65534, 65534)
os.setresuid(42, 42, 42)
assert os.getresuid() == (42, 42, 42) and os.getgroups() == [65534]
try:
    os.setuid(0)
except PermissionError:
    pass
else:
    raise AssertionError('it is root again')
""",
    "tracing a child": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
pid = os.fork()
if pid == 0:
    assert libc.ptrace(0, 0, 0, 0) == 0
    os.kill(os.getpid(), 19)
    os._exit(7)
assert os.WIFSTOPPED(os.waitpid(pid, 0)[1])
assert libc.ptrace(7, pid, 0, 0) == 0
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
""",
    "reading a child's memory": """
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
pid = os.fork()
if pid == 0:
    time.sleep(9)
    os._exit(0)
open(f'/proc/{pid}/maps').read(10)
os.readlink(f'/proc/{pid}/exe')
os.kill(pid, 9); os.waitpid(pid, 0)
""",
    "personality": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
ask = ctypes.c_ulong(0xffffffff)
assert libc.personality(ask) == 0
assert libc.personality(ctypes.c_ulong(8)) == 0 and libc.personality(ask) == 8
assert libc.personality(ctypes.c_ulong(0)) == 8
""",
    "setpriority": """
import os
os.setpriority(os.PRIO_PROCESS, 0, 10)
assert os.getpriority(os.PRIO_PROCESS, 0) == 10
os.sched_yield(); os.sched_setaffinity(0, os.sched_getaffinity(0))
""",
    "locked memory": """
import ctypes, mmap, resource
libc = ctypes.CDLL(None, use_errno=True)
page = mmap.mmap(-1, 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
assert libc.mlock(ctypes.c_void_p(address), 4096) == 0, ctypes.get_errno()
soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
assert soft >= 65536
""",
    "POSIX shared memory and semaphores": """
import _posixshmem, os, mmap, multiprocessing.synchronize, multiprocessing
fd = _posixshmem.shm_open('/x', os.O_CREAT | os.O_RDWR, mode=0o600)
os.ftruncate(fd, 4096); mmap.mmap(fd, 4096)[:1] = b'x'
multiprocessing.get_context('fork').Semaphore(1).acquire()
""",
    "POSIX message queues": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.mq_open(b'/q', os.O_CREAT | os.O_RDWR, 0o600, None)
assert fd >= 0, ctypes.get_errno()
assert libc.mq_send(fd, b'x', 1, 0) == 0
assert os.listdir('/dev/mqueue') == ['q']
""",
    "System V shared memory, semaphores and queues": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
shm = libc.shmget(0, 4096, 0o1600)
assert shm >= 0 and libc.shmat(shm, None, 0) not in (None, 2**64 - 1)
assert libc.semget(0, 1, 0o1600) >= 0
assert libc.msgget(0, 0o1600) >= 0
""",
    "inotify, epoll, timers, events, signals": """
import ctypes, os, select
libc = ctypes.CDLL(None, use_errno=True)
watch = libc.inotify_init1(0)
assert libc.inotify_add_watch(watch, b'/tmp', 0x100) > 0
open('/tmp/new', 'w').close()
poll = select.epoll()
poll.register(watch, select.EPOLLIN)
assert poll.poll(2) == [(watch, 1)]
timer = libc.timerfd_create(1, 0)
class Spec(ctypes.Structure):
    _fields_ = [(n, ctypes.c_long) for n in ('is_', 'in_', 's', 'n')]
assert libc.timerfd_settime(timer, 0, ctypes.byref(Spec(0, 0, 0, 1000)), None) == 0
assert select.select([timer], [], [], 2)[0]
assert libc.eventfd(0, 0) >= 0
assert os.memfd_create('x') >= 0
os.pidfd_open(os.getpid())
""",
    "sockets": """
import socket
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    socket.socket(family, socket.SOCK_DGRAM).close()
a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'
abstract = socket.socket(socket.AF_UNIX); abstract.bind(chr(0) + 'own'); abstract.listen()
socket.socket(socket.AF_UNIX).connect(chr(0) + 'own')
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
""",
    "io_uring falls back": """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(425, 4, bytes(120)) == -1
assert ctypes.get_errno() == errno.ENOSYS
""",
    "clone3 falls back to clone": """
import ctypes, errno, threading
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(435, None, 0) == -1
assert ctypes.get_errno() == errno.ENOSYS
thread = threading.Thread(target=int); thread.start(); thread.join()
""",
    "file capabilities and attributes": """
import os
open('/tmp/f', 'w').close()
os.setxattr('/tmp/f', 'security.capability', bytes([1, 0, 0, 2]) + bytes([0, 4]) + bytes(14))
os.setxattr('/tmp/f', 'user.x', b'y')
assert os.getxattr('/tmp/f', 'user.x') == b'y'
""",
    "copies without copying, holes, locks": """
import fcntl, os
a = os.open('/tmp/a', os.O_CREAT | os.O_RDWR); b = os.open('/tmp/b', os.O_CREAT | os.O_RDWR)
os.write(a, b'x' * 5000); os.lseek(a, 0, 0)
assert os.copy_file_range(a, b, 5000) == 5000
os.posix_fallocate(a, 0, 8192)
fcntl.flock(a, fcntl.LOCK_EX); fcntl.lockf(b, fcntl.LOCK_EX)
os.statvfs('/tmp'); os.getrandom(4)
""",
}


@pytest.fixture(scope="module")
def outcomes(engine: Engine) -> dict[str, str]:
    """What each of PROGRAMS says, all run in one container: "" where it works."""
    loop = (
        "import json, subprocess, sys\n"
        "print(json.dumps({name: subprocess.run([sys.executable, '-I', '-c', program],"
        " capture_output=True, text=True).stderr"
        " for name, program in json.load(sys.stdin).items()}))"
    )
    done = engine.cli(
        *("run", "--rm", "-i", *python_flags(), "busybox", PYTHON, "-I", "-c", loop),
        stdin=json.dumps(PROGRAMS).encode(),
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


PING = """
import os, socket, struct
request = struct.pack('>BBHHH', 8, 0, 0, 1, 1) + b'payload'
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as echo:
    echo.settimeout(5)
    echo.sendto(request, ('127.0.0.1', 0))
    answer = echo.recv(64)
assert answer[0] == 0 and answer.endswith(b'payload'), answer
"""
LOW_PORT = "import socket; socket.create_server(('127.0.0.1', 80)).close()"


@pytest.mark.parametrize("user", ["root", "nobody", "12345:6789"])
@pytest.mark.parametrize("program", [PING, LOW_PORT], ids=["ping", "low port"])
def test_anybody_may(engine: Engine, user: str, program: str) -> None:
    """By ping_group_range and ip_unprivileged_port_start, as ping of iputils and servers do."""
    engine.docker(
        *("run", "--rm", "-u", user, *python_flags()), *("busybox", PYTHON, "-I", "-c", program)
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(outcomes: dict[str, str], name: str) -> None:
    assert outcomes[name] == ""


@pytest.mark.parametrize(
    ("capability", "program"),
    [
        ("NET_RAW", "import socket; socket.socket(17, 3, 0); socket.socket(2, 3, 1)"),
        (
            "SYS_ADMIN",
            "import ctypes; assert ctypes.CDLL(None).mount(b't', b'/tmp', b'tmpfs', 0, None) == 0",
        ),
        ("SYS_ADMIN", "import ctypes; assert ctypes.CDLL(None).fanotify_init(0, 0) >= 0"),
        ("SYS_NICE", "import os; os.setpriority(0, 0, -5)"),
        ("NET_ADMIN", "import socket; s = socket.socket(); s.setsockopt(1, 36, 1)"),
        ("SYS_PTRACE", "open('/proc/1/maps').read(1)"),
    ],
    ids=lambda value: value if value.isupper() else "",
)
def test_what_was_given_works(engine: Engine, capability: str, program: str) -> None:
    engine.docker(
        *("run", "--rm", "--cap-add", capability, *python_flags()),
        *("busybox", PYTHON, "-I", "-c", program),
    )


def image(engine: Engine, tmp_path: Path, name: str, *files: tarfile.TarInfo | tuple[str, bytes],
          base: Path | None = None) -> None:  # fmt: skip
    """Import an image of ``base`` with more files, each 0755, or links."""
    target = tmp_path / f"{name}.tar"
    if base is not None:
        shutil.copyfile(base, target)
    with tarfile.open(target, "a" if base is not None else "w") as archive:
        for item in files:
            if isinstance(item, tarfile.TarInfo):
                archive.addfile(item)
                continue
            entry = tarfile.TarInfo(item[0])
            entry.mode, entry.size = 0o755, len(item[1])
            archive.addfile(entry, io.BytesIO(item[1]))
    engine.docker("import", str(target), name)


def link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


def test_absolute_links_of_an_image_lead_into_it(
    engine: Engine, busybox_tar: Path, tmp_path: Path
) -> None:
    """Those of programs, of /etc files, of /var/run, and those to mount on."""
    image(
        engine, tmp_path, "links",
        link("opt/echo", "/bin/echo"), link("var/run", "/run"), link("data", "/real/data"),
        ("run/keep", b""), ("real/data/keep", b""), base=busybox_tar,
    )  # fmt: skip
    volume = tmp_path / "volume"
    volume.mkdir()
    said = engine.docker(
        *("run", "--rm", "-v", f"{volume}:/data/in", "-w", "/var/run/app", "links"),
        *("sh", "-c", "/opt/echo hi; pwd -P; echo x > /real/data/in/file"),
    )
    engine.docker("rmi", "links")
    assert said.split() == ["hi", "/run/app"]
    assert (volume / "file").read_text() == "x\n"


def program_of_32_bits() -> bytes:
    """An i386 ELF program that writes ``32`` and exits: int 0x80 by hand."""
    base, header = 0x08048000, 52 + 32
    code = bytes.fromhex(
        "b804000000bb01000000b9" + "00000000" + "ba03000000cd80b801000000bb00000000cd80"
    )
    text = b"32\n"
    place = struct.pack("<I", base + header + len(code))
    code = code[:11] + place + code[15:]
    size = header + len(code) + len(text)
    elf = (
        b"\x7fELF\1\1\1"
        + bytes(9)
        + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + header, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    )
    segment = struct.pack("<8I", 1, 0, base, base, size, size, 5, 4096)
    return elf + segment + code + text


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="i386 programs run on x86-64 only")
def test_32_bit_programs_run(engine: Engine, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(program_of_32_bits())
    program.chmod(0o755)
    try:
        assert os.popen(str(program)).read() == "32\n"
    except (OSError, AssertionError):
        pytest.skip("this kernel runs no 32-bit programs")
    image(engine, tmp_path, "bits", ("program", program.read_bytes()))
    said = engine.docker("run", "--rm", "bits", "/program")
    engine.docker("rmi", "bits")
    assert said == "32"


@pytest.mark.skipif(not Path("/usr/bin/systemd-tmpfiles").exists(), reason="needs systemd-tmpfiles")
def test_systemd_tmpfiles(engine: Engine, tmp_path: Path) -> None:
    """It opens paths by O_PATH, sets owners, modes, ACLs and attributes through /proc/self/fd."""
    conf = tmp_path / "tmpfiles.conf"
    conf.write_text(
        "d /run/app 0750 5 6\nf /run/app/file 0640 7 8 - text\nL /run/link - - - - /x\n"
    )
    libraries = [w for d in ("/lib", "/lib64", "/usr/lib") for w in ("-v", f"{d}:{d}:ro")]
    said = engine.docker(
        *("run", "--rm", *libraries, "-v", "/usr/bin/systemd-tmpfiles:/bin/tmpfiles:ro"),
        *("-v", f"{conf}:/t.conf:ro", *SHELL),
        "tmpfiles --create /t.conf; stat -c '%a %u %g' /run/app /run/app/file; readlink /run/link",
    )
    assert said.splitlines() == ["750 5 6", "640 7 8", "/x"]


@pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="needs strace")
def test_strace(engine: Engine) -> None:
    libraries = [w for d in ("/lib", "/lib64", "/usr/lib") for w in ("-v", f"{d}:{d}:ro")]
    said = engine.docker(
        *("run", "--rm", *libraries, "-v", "/usr/bin/strace:/bin/strace:ro", *SHELL),
        "strace -f -e trace=execve sh -c 'true; echo hello' 2>&1",
    )
    assert "execve(" in said
    assert "hello" in said
