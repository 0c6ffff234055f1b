"""Containers of other OCI runtimes: the shim has a program do what it else does by itself.

::

    helper   the network namespace is made and wired; a private mount namespace, in it the root
             ─► config.json ─► RUNTIME create ─► RUNTIME start ─► Started
    shim     becomes the init's parent when create leaves it (it is a subreaper)
             exec: a helper has RUNTIME exec --detach make a process, which becomes ours, too
             end:  RUNTIME delete --force

Everything else (streams, log, signals, limits, pausing, the exit record) goes by pidfd and
control group as for our own. The root is mounted in the helper's mount namespace only: the
container has its copy, and the host sees nothing. What the runtime keeps is below the shim's
directory.

Source: runc's command line, which is what OCI runtimes have in common; runtime-spec config.md.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

import msgspec

from barque.errors import FailedPrecondition, InvalidArgument
from barque.kernel import mount as km
from barque.kernel import process as kp
from barque.kernel.paths import open_in_root
from barque.kernel.seqpacket import Socket, receive
from barque.models import oci
from barque.models.launch import ContainerLaunch, ExecLaunch, UserNames
from barque.runtime.capabilities import held, names_of
from barque.runtime.devices import host_devices
from barque.runtime.init import fill_volume, make_cwd
from barque.runtime.network import configure
from barque.runtime.rootfs import Root
from barque.runtime.status import Failure
from barque.runtime.users import Identity, Opener, resolve
from barque.shim import protocol as p
from barque.shim.task import (
    START_TIMEOUT_S,
    Helper,
    Process,
    StartError,
    children,
    exit_status,
    make_pipes,
    received,
    run_helper,
)

_DELETE_TIMEOUT_S = 15.0
_CONSOLE = "console.sock"
_SHARED = frozenset({"shared", "rshared"})
_UMASK = 0o022
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

_NOT_THERE = ("executable file not found", "no such file or directory")
_NOT_EXECUTABLE = ("permission denied", "exec format error", "is a directory")

_RUNCS_WORDS = (
    "runc create failed: ",
    "exec failed: ",
    "unable to start container process: ",
)
"""What the engine says, too."""

_encode = msgspec.json.Encoder().encode


class _LogLine(msgspec.Struct):
    """What is read of a line of a runtime's log."""

    msg: str = ""
    level: str = ""


_decode_line = msgspec.json.Decoder(_LogLine).decode


class Runtime:
    """A runtime's command line, for one container."""

    def __init__(self, launch: p.Launch) -> None:
        """``launch.runtime`` says which."""
        if launch.runtime is None:
            raise InvalidArgument("the container is not one of another runtime")
        self.id = launch.id
        self.directory = launch.directory
        self._path = launch.runtime.path
        self._log = f"{launch.directory}/runtime.log"
        self._arguments = [
            launch.runtime.path,
            *launch.runtime.args,
            *("--root", f"{launch.directory}/runtime"),
            *("--log", self._log, "--log-format", "json"),
        ]

    def run(
        self,
        *arguments: str,
        stdio: tuple[int, int, int] | None = None,
        timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """Run one command to its end. ``stdio`` None is /dev/null.

        Raises StartError with what the runtime logged when it fails, or is too slow: then it is
        killed.
        """
        if os.path.exists(self._log):
            os.unlink(self._log)
        command = [*self._arguments, *arguments]
        parent = os.getpid()
        pid = kp.fork()
        if pid == 0:
            try:
                kp.die_with_parent(signal.SIGKILL)
                if os.getppid() == parent:
                    self._execute(command, stdio)
            finally:
                os._exit(127)
        pidfd = os.pidfd_open(pid)
        try:
            if not select.select([pidfd], [], [], timeout_s)[0]:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                exit_status(pidfd)
                raise _failed(f"{self._path} {arguments[0]} took longer than {timeout_s:.0f} s")
            code = exit_status(pidfd)
        finally:
            os.close(pidfd)
        if code:
            said = self._last_words()
            raise _failed(said or f"{self._path} {arguments[0]}: exit status {code}")

    def _execute(self, command: list[str], stdio: tuple[int, int, int] | None) -> NoReturn:
        if stdio is None:
            null = os.open("/dev/null", os.O_RDWR)
            stdio = (null, null, null)
        for number, fd in enumerate(stdio):
            if fd == number:
                os.set_inheritable(fd, True)
            else:
                os.dup2(fd, number)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        kp.restore_reserved_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        kp.close_from(3)
        os.execve(command[0], command, _ENVIRONMENT)

    def _last_words(self) -> str:
        """The last error that the runtime logged, or ""."""
        try:
            with open(self._log, "rb") as file:
                lines = file.read(1 << 16).splitlines()
        except OSError:
            return ""
        for line in reversed(lines):
            try:
                entry = _decode_line(line)
            except msgspec.DecodeError:
                continue
            if entry.level in {"error", "fatal"}:
                return entry.msg
        return ""

    def delete(self) -> None:
        """Have the runtime take back what it made.

        All of it is below the shim's directory, which goes, or in the control group: what the
        runtime complains of (there is no such container, say) is of no interest.
        """
        with suppress(StartError):
            self.run("delete", "--force", self.id, timeout_s=_DELETE_TIMEOUT_S)


def describe_failure(message: str) -> Failure:
    """The failure in the words by which clients tell kinds, and with docker's exit code for it."""
    for prefix in _RUNCS_WORDS:
        message = message.removeprefix(prefix)
    lowered = message.lower()
    code = 128
    if "exec" in lowered and any(text in lowered for text in _NOT_THERE):
        code = 127
        if not any(text in message for text in _NOT_THERE):
            message = f"executable file not found in $PATH: {message}"
    elif "exec" in lowered and any(text in lowered for text in _NOT_EXECUTABLE):
        code = 126
        if not any(text in message for text in _NOT_EXECUTABLE):
            message = f"permission denied: {message}"
    return Failure("runtime", 0, message, code)


def _failed(message: str) -> StartError:
    return StartError(describe_failure(message))


# Streams


class _Console:
    """The socket at which a runtime delivers a terminal."""

    def __init__(self, directory: str) -> None:
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
        os.set_inheritable(self._listener.fileno(), False)
        # An address holds 107 bytes, and the runtime is another process than we are.
        self.path = f"/proc/{os.getpid()}/fd/{self._directory}/{_CONSOLE}"
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._listener.bind(self.path)
        self._listener.listen(1)

    def take(self) -> int:
        """The master that was delivered. Raises FailedPrecondition."""
        if not select.select([self._listener], [], [], START_TIMEOUT_S)[0]:
            raise FailedPrecondition("the runtime did not deliver the terminal")
        fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fileno=fd)
        try:
            _, fds = receive(end)
        finally:
            end.close()
        if len(fds) != 1:
            raise FailedPrecondition("the runtime delivered no terminal")
        return fds[0]

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()
        os.unlink(f"/proc/self/fd/{self._directory}/{_CONSOLE}")
        os.close(self._directory)


class _Ends(NamedTuple):
    """Both sides of a process's streams: what its maker gets, and what we keep."""

    process: Process
    theirs: tuple[int, int, int] | None
    console: _Console | None


def _open_streams(streams: p.Streams, directory: str) -> _Ends:
    if streams.tty:
        return _Ends(Process(0, [], -1), None, _Console(directory))
    pipes = make_pipes(streams)
    ours = Process(0, [], -1, -1, pipes.stdout, pipes.stderr, pipes.stdin)
    return _Ends(ours, pipes.child, None)


def _make(runtime: Runtime, streams: p.Streams, name: str, *command: str) -> Process:
    """Have the runtime make a process with ``streams`` by ``command``. Raises StartError."""
    ends = _open_streams(streams, runtime.directory)
    pid_file = f"{runtime.directory}/{name}.pid"
    options = ["--pid-file", pid_file]
    if ends.console is not None:
        options += ["--console-socket", ends.console.path]
    try:
        runtime.run(command[0], *options, *command[1:], stdio=ends.theirs)
        master = ends.console.take() if ends.console is not None else -1
    finally:
        if ends.console is not None:
            ends.console.close()
        for fd in ends.theirs or ():
            os.close(fd)
    with open(pid_file, "rb") as file:
        pid = int(file.read())
    os.unlink(pid_file)
    return ends.process._replace(pid=pid, pidfd=os.pidfd_open(pid), master=master)


# The container


def delete(launch: p.Launch) -> None:
    """See ``Runtime.delete``."""
    Runtime(launch).delete()


def start_external(
    launch: p.Launch,
    document: ContainerLaunch,
    joins: dict[str, int],
    host_netns: int,
    shim: Socket,
) -> Process:
    """Have the runtime make the container and start it; for the shim's helper.

    ``shim`` says when it is a subreaper. Raises StartError, BarqueError, OSError.
    """
    _check(document)
    if not receive(shim)[0]:
        os._exit(1)
    runtime = Runtime(launch)
    paths = {kind: f"/proc/{os.getpid()}/fd/{fd}" for kind, fd in joins.items()}
    wanted = {namespace.type for namespace in document.spec.linux.namespaces}
    if "network" in wanted - paths.keys():
        paths["network"] = f"/proc/{os.getpid()}/fd/{_make_network(document, host_netns)}"
    identity = _mount(document, launch.mount_point)
    spec = translate(document, identity, launch.mount_point, paths, launch.streams)
    _write(f"{launch.directory}/config.json", spec)
    try:
        made = _make(
            runtime, launch.streams, "init", "create", "--bundle", launch.directory, launch.id
        )
        runtime.run("start", launch.id)
    except BaseException:
        runtime.delete()
        raise
    return made


def _check(document: ContainerLaunch) -> None:
    for mount in document.spec.mounts:
        if not _SHARED.isdisjoint(mount.options):
            raise InvalidArgument(
                f"the mount at {mount.destination} is to be shared with the host, which only "
                "barque's own runtime can do: use --runtime barque, or another propagation"
            )


def _make_network(document: ContainerLaunch, host_netns: int) -> int:
    """A network namespace with the container's interfaces."""
    kp.unshare(kp.CLONE_NEWNET)
    made = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    configure(document.interfaces, host_netns)
    kp.setns(host_netns, kp.CLONE_NEWNET)
    return made


def _mount(document: ContainerLaunch, mount_point: str) -> Identity:
    """Mount the root where nobody else sees it, and do in it what is not the runtime's."""
    kp.unshare(kp.NAMESPACES["mount"][0])
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    km.set_attributes(fd, propagation=km.MS_SLAVE, recursive=True, what="/")
    os.close(fd)
    root = Root(mount_point)
    root.mount_root(document.rootfs)
    os.umask(0)
    for copy_up in document.copy_ups:
        fill_volume(root, copy_up)
    process = document.spec.process or oci.Process()
    identity = _identify(document.names, process, root.open)
    if document.create_cwd:
        make_cwd(root, process.cwd, identity)
    os.umask(_UMASK)
    return identity


def _identify(names: UserNames | None, process: oci.Process, open_: Opener) -> Identity:
    if names is not None:
        return resolve(names, open_)
    user = process.user
    return Identity(user.uid, user.gid, (user.gid, *user.additional_gids), "")


def translate(
    document: ContainerLaunch,
    identity: Identity,
    root: str,
    paths: dict[str, str],
    streams: p.Streams,
) -> oci.Spec:
    """The document as another runtime understands it: what is ours in the spec's own terms.

    ``paths`` are namespaces to join. The document is changed.
    """
    spec = document.spec
    spec.oci_version = "1.0.2"
    spec.root = oci.Root(path=root, readonly=spec.root.readonly or document.rootfs.readonly)
    spec.process = describe_process(spec.process or oci.Process(), identity, streams)
    linux = spec.linux
    linux.namespaces = [
        oci.Namespace(type=ns.type, path=paths.get(ns.type, "")) for ns in linux.namespaces
    ]
    if document.host_devices:
        linux.devices = [*linux.devices, *host_devices()]
    return spec


def describe_process(process: oci.Process, identity: Identity, streams: p.Streams) -> oci.Process:
    """The process with the user by numbers, HOME and the size of its terminal."""
    if process.capabilities is not None:
        process.capabilities = _grantable(process.capabilities)
    umask = process.user.umask
    process.user = oci.User(
        uid=identity.uid,
        gid=identity.gid,
        umask=umask,
        additional_gids=[gid for gid in identity.groups if gid != identity.gid],
    )
    if identity.home and not any(entry.startswith("HOME=") for entry in process.env):
        process.env = [*process.env, f"HOME={identity.home}"]
    if streams.tty and streams.console_size:
        height, width = streams.console_size
        process.console_size = oci.Box(height=height, width=width)
    return process


def _grantable(wanted: oci.Capabilities) -> oci.Capabilities:
    """What of ``wanted`` we have ourselves: some runtimes fail where they cannot give all."""
    have = frozenset(names_of(held().permitted))
    kept = {
        name: [capability for capability in names if capability in have]
        for name, names in msgspec.structs.asdict(wanted).items()
    }
    return oci.Capabilities(**kept)


def plain_document(document: oci.Spec | oci.Process) -> dict[str, Any]:
    """A document as JSON has it, with those defaults that other runtimes do not have."""
    plain: dict[str, Any] = msgspec.to_builtins(document)
    is_spec = isinstance(document, oci.Spec)
    process = plain.get("process") if is_spec else plain
    if process is not None:
        process.setdefault("cwd", "/")
    if is_spec:
        for rule in plain["linux"].get("resources", {}).get("devices", ()):
            rule.setdefault("access", "rwm")
    return plain


def _write(path: str, document: oci.Spec | oci.Process) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(_encode(plain_document(document)))


# Strays


def watch_children() -> int:
    """A descriptor that is readable when a child has ended. Once in a process."""
    ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    return ours


def reap_strays(known: set[int]) -> None:
    """Reap the children that have ended, but those whose pid is ``known``."""
    for pid in children() - known:
        os.waitpid(pid, os.WNOHANG)


# Execs


class ExternalExec:
    """An exec on its way, as ``task.Starting`` is one: a helper drives the runtime."""

    def __init__(self, helper: Helper, streams: p.Streams) -> None:
        self._helper = helper
        self._streams = streams

    def fileno(self) -> int:
        """The descriptor that is readable when the helper has done its work."""
        return self._helper.end.fileno()

    def advance(self) -> Process:
        """Take the process. Raises StartError."""
        data, fds = self._helper.take()
        exit_status(self._helper.pidfd)
        os.close(self._helper.pidfd)
        return received(data, fds, self._streams)

    def time_out(self) -> StartError:
        """End the helper, and with it the runtime."""
        signal.pidfd_send_signal(self._helper.pidfd, signal.SIGKILL)
        self._helper.end.close()
        exit_status(self._helper.pidfd)
        os.close(self._helper.pidfd)
        return _failed(f"the process did not start within {START_TIMEOUT_S:.0f} s")


def exec_external(
    launch: p.Launch,
    request: p.Exec,
    read: Callable[[], ExecLaunch],
    init: int,
    end: Socket,
) -> NoReturn:
    """Have the runtime make a further process beside ``init`` (a pid); a helper's program."""

    def work() -> Process:
        document = read()
        root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        identity = _identify(
            document.names, document.process, lambda path, flags: open_in_root(root, path, flags)
        )
        os.close(root)
        process = describe_process(document.process, identity, request.streams)
        path = f"{launch.directory}/exec-{request.exec_id}"
        _write(f"{path}.json", process)
        try:
            options = ("exec", "--detach", "--process", f"{path}.json")
            name = f"exec-{request.exec_id}"
            return _make(Runtime(launch), request.streams, name, *options, launch.id)
        finally:
            os.unlink(f"{path}.json")

    run_helper(end, [], work)
