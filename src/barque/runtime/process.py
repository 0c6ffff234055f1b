"""The last steps of every process of a container, first or exec'ed: who it is, what it may
do, what it runs.

The order matters and is the same for all::

    rlimits                 hard ones that are higher: while still privileged
    signals                 those that the engine was started without are not the program's
    descriptors closed      all but 0, 1, 2 and the report's, which execve closes; before the
                            filter, which may not know close_range, and before the working
                            directory, which may be named through one (CVE-2024-21626)
    no_new_privs            before the filter, which may need it
    bounding set            needs CAP_SETPCAP
    groups, gid, uid        keeping capabilities
    rlimits                 all: little is left to be done under them, and a user who is over
                            RLIMIT_NPROC when he becomes one may run nothing
    cwd                     as the user, so that its permissions count
    the program is looked for
    seccomp                 needs CAP_SYS_ADMIN, unless no_new_privs is set: then last. All that
                            it might forbid and that can be done before is done
    capability sets         to what the spec says
    branch                  an exec: into the PID namespace (``runtime.branch``), session, terminal,
                            RLIMIT_NPROC; before the filter where that forbids a part of it
    start                   where it is apart from create (``Gate``): wait for it. The filter is
                            loaded by then: its listener is the creator's to pass on
    execve
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the calls, without enumerations around them
import errno
import os
import resource
import signal
import stat
from typing import NamedTuple, NoReturn, Protocol

from barque.errors import InvalidArgument, KernelError
from barque.kernel.files import write_value
from barque.kernel.process import (
    close_from,
    die_with_parent,
    restore_reserved_signals,
    set_keep_capabilities,
    set_no_new_privileges,
)
from barque.models import oci
from barque.runtime import capabilities, terminal
from barque.runtime.branch import Branch
from barque.runtime.pid1 import fork_program
from barque.runtime.seccomp import compile_filter, load_filter, notifies
from barque.runtime.status import ExecutableError, Listener, Reporter
from barque.runtime.users import Identity

_INFINITY = 2**64 - 1
_RLIMIT_LOCKS = 10  # the standard library knows all limits but this one
_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Filter(NamedTuple):
    """A compiled seccomp filter; no ``code`` is none. ``notifies``: somebody listens to it."""

    code: bytes = b""
    notifies: bool = False


class Gate(Protocol):
    """What stands between a created process and its program."""

    def fileno(self) -> int:
        """Return the descriptor on which the start comes, which is kept open."""
        ...

    def pass_through(self, reporter: Reporter, /) -> None:
        """Report that the process is created, wait for its start, do what is due before it."""
        ...


def find_filter(profile: oci.Seccomp | None, path: str) -> Filter:
    """The filter of a spec's profile, compiled; without one that kept at host path ``path``.

    "" is none. To be called while the host's files can be read.
    """
    if profile is not None:
        return Filter(compile_filter(profile), notifies(profile))
    if not path:
        return Filter()
    with open(path, "rb", buffering=0) as file:
        return Filter(file.read())


def _load(bpf: Filter, reporter: Reporter, *, no_new_privileges: bool) -> None:
    listener = load_filter(
        bpf.code, no_new_privileges=no_new_privileges, with_listener=bpf.notifies
    )
    if listener >= 0:
        reporter.ask(Listener(listener))
        os.close(listener)


def rlimit_number(limit: oci.Rlimit) -> int:
    """The kernel's number of a limit. Raises InvalidArgument for an unknown name."""
    number = _RLIMIT_LOCKS if limit.type == "RLIMIT_LOCKS" else getattr(resource, limit.type, None)
    if not isinstance(number, int) or not limit.type.startswith("RLIMIT_"):
        raise InvalidArgument(f"unknown resource limit {limit.type}")
    return number


def lift_rlimits(rlimits: list[oci.Rlimit], pid: int = 0) -> None:
    """Raise the hard limits of a process (0: the caller) that is about to lose the right to.

    Those that we may not raise are told of by ``apply_rlimits``.
    """
    for limit in rlimits:
        number, hard = rlimit_number(limit), _native(limit.hard)
        kept, most = resource.prlimit(pid, number)
        if most == resource.RLIM_INFINITY or (hard != resource.RLIM_INFINITY and hard <= most):
            continue
        try:
            resource.prlimit(pid, number, (kept, hard))
        except PermissionError:
            continue


def _native(value: int) -> int:
    return resource.RLIM_INFINITY if value == _INFINITY else value


def apply_rlimits(rlimits: list[oci.Rlimit], reporter: Reporter) -> None:
    """Set limits; where the machine does not let us raise one, keep the hard limit and say so."""
    for limit in rlimits:
        number = rlimit_number(limit)
        soft, hard = _native(limit.soft), _native(limit.hard)
        try:
            resource.setrlimit(number, (soft, hard))
        except (ValueError, PermissionError):
            _, most = resource.getrlimit(number)
            if not 0 <= most < hard % (1 << 64):
                raise InvalidArgument(
                    f"{limit.type}: the soft limit {limit.soft} is above the hard limit "
                    f"{limit.hard}"
                ) from None
            kept = most if soft == resource.RLIM_INFINITY else min(soft, most)
            resource.setrlimit(number, (kept, most))
            reporter.warn(
                f"{limit.type} stays at {most}: the engine may not raise it to {limit.hard}"
            )


def apply_oom_score(score: int, proc_fd: int, reporter: Reporter) -> None:
    """Write oom_score_adj through our own procfs; keep the engine's where it may not go lower."""
    try:
        write_value("self/oom_score_adj", str(score), dir_fd=proc_fd)
    except PermissionError:
        reporter.warn(f"oom_score_adj is not lowered to {score}: the engine may not")


def restore_signals() -> None:
    """Give the program the dispositions that it would have after a login.

    What is ignored stays so over execve: SIGPIPE by the interpreter, SIGHUP or SIGQUIT where
    the engine was started in the background of a shell.
    """
    for number in _SIGNALS:
        if _signal.getsignal(number) != _signal.SIG_DFL:
            _signal.signal(number, _signal.SIG_DFL)
    restore_reserved_signals()


def connect_stdio(stdio: tuple[int, int, int] | None, slave: int) -> None:
    """Make the terminal ``slave`` the standard streams, or where it is -1 three descriptors."""
    if slave >= 0:
        terminal.connect(slave)
        return
    for number, fd in enumerate(stdio or ()):
        if fd == number:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, number)


def own_stdio(uid: int) -> None:
    """Let the user open /dev/stdout again: pipes and terminals become his."""
    for fd in (0, 1, 2):
        info = os.fstat(fd)
        is_null = stat.S_ISCHR(info.st_mode) and info.st_rdev == os.makedev(1, 3)
        if info.st_uid == uid or is_null or stat.S_ISREG(info.st_mode):
            continue
        try:
            os.fchown(fd, uid, info.st_gid)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EINVAL, errno.EROFS}:
                raise


def change_identity(process: oci.Process, identity: Identity) -> None:
    """Become the user, with what he will have and what loading the filter still needs."""
    caps = process.capabilities or oci.Capabilities()
    if process.no_new_privileges:
        set_no_new_privileges()
    capabilities.drop_bounding(capabilities.mask(caps.bounding))
    set_keep_capabilities(keep=True)
    try:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        shown = ", ".join(map(str, identity.groups))
        raise InvalidArgument(
            f"the user namespace has not all of the user {identity.uid} and the groups {shown}: "
            "map more ids, or run as another user"
        ) from None
    set_keep_capabilities(keep=False)
    capabilities.keep_for_filter(caps)


def environment(process: oci.Process, home: str) -> dict[bytes, bytes]:
    """The program's environment; HOME from the passwd entry where the spec has none."""
    variables: dict[bytes, bytes] = {}
    for entry in process.env:
        name, equals, value = os.fsencode(entry).partition(b"=")
        if equals:
            variables[name] = value
    if not variables.get(b"HOME"):
        variables[b"HOME"] = os.fsencode(home or "/")
    return variables


def find_executable(name: str, path: str) -> str:
    """The file that execvp(3) would run. Raises ExecutableError in the words clients match."""
    if not name:
        raise ExecutableError('exec: "": executable file not found in $PATH', 127, errno.ENOENT)
    if "/" in name:
        _check_executable(name, name)
        return name
    denied: ExecutableError | None = None
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            _check_executable(candidate, name)
        except ExecutableError as error:
            if error.errno == errno.EACCES:
                denied = error
            continue
        return candidate
    raise denied or ExecutableError(
        f'exec: "{name}": executable file not found in $PATH', 127, errno.ENOENT
    )


def _check_executable(path: str, name: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        code = 126 if error.errno == errno.EACCES else 127
        text = os.strerror(error.errno or 0).lower()
        stat_path = "" if code == 126 else f"stat {path}: "
        raise ExecutableError(
            f'exec: "{name}": {stat_path}{text}', code, error.errno or 0
        ) from None
    if stat.S_ISDIR(mode):
        raise ExecutableError(f'exec: "{name}": is a directory', 126, errno.EISDIR)
    if not os.access(path, os.X_OK):
        raise ExecutableError(f'exec: "{name}": permission denied', 126, errno.EACCES)


def enter_cwd(path: str) -> None:
    """chdir as the user, and check that the directory is inside the root.

    A descriptor that leaked from the host could name a directory outside; getcwd tells.
    """
    try:
        os.chdir(path)
    except OSError as error:
        raise KernelError("chdir to the working directory", error.errno or 0, path) from None
    try:
        os.getcwd()
    except FileNotFoundError:
        raise InvalidArgument(
            f"the working directory {path} is outside the container's root"
        ) from None


def execute(
    process: oci.Process,
    identity: Identity,
    bpf: Filter,
    reporter: Reporter,
    *,
    as_init: bool = False,
    gate: Gate | None = None,
    preserved: tuple[int, ...] = (),
    branch: Branch | None = None,
) -> NoReturn:
    """Carry out the steps above and run the program. With ``as_init`` stay as its PID 1.

    ``preserved`` are descriptors that the program gets beside the standard ones. With ``branch``
    the program is run by another process, which is all that the caller has become. Raises what
    goes wrong, as long as there is anybody to tell.
    """
    reporter.stage = "identity"
    lift_rlimits(process.rlimits)
    restore_signals()
    if gate is not None and branch is None:
        die_with_parent(0)  # it may end when it has let us pass
    for fd in preserved:
        os.set_inheritable(fd, True)
    kept = (reporter.fileno(), *preserved)
    close_from(3, keep=kept if gate is None else (*kept, gate.fileno()))
    own_stdio(identity.uid)
    change_identity(process, identity)
    reporter.stage = "limits"
    later = branch.limits if branch is not None else []
    apply_rlimits([limit for limit in process.rlimits if limit not in later], reporter)
    os.umask(0o22 if process.user.umask is None else process.user.umask)
    reporter.stage = "working directory"
    enter_cwd(process.cwd)
    reporter.stage = "exec"
    variables = environment(process, identity.home)
    search = os.fsdecode(variables.get(b"PATH", _DEFAULT_PATH.encode()))
    program = find_executable(process.args[0], search)
    if branch is not None and (bpf.notifies or not branch.fits(bpf.code, reporter.fileno())):
        _take(branch, reporter)
        branch = None
    if bpf.code and not process.no_new_privileges:
        _load(bpf, reporter, no_new_privileges=False)
    capabilities.set_final(process.capabilities or oci.Capabilities())
    if bpf.code and process.no_new_privileges:
        _load(bpf, reporter, no_new_privileges=True)
    if branch is not None:
        _take(branch, reporter)
    if gate is not None:
        gate.pass_through(reporter)
    if as_init:
        fork_program(reporter)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execve(program, process.args, variables)
    except OSError as error:
        raise _refused(process.args[0], program, error) from None


def _take(branch: Branch, reporter: Reporter) -> None:
    branch.take(reporter)
    apply_rlimits(branch.limits, reporter)


def _refused(name: str, program: str, error: OSError) -> ExecutableError:
    text = os.strerror(error.errno or 0).lower()
    code = 126 if error.errno in {errno.EACCES, errno.EPERM, errno.EISDIR} else 127
    if error.errno == errno.ENOEXEC:
        return ExecutableError(f"exec {program}: exec format error", 126, errno.ENOEXEC)
    if error.errno == errno.ENOENT:  # the file is there: it is its interpreter that is not
        return ExecutableError(f"exec {program}: no such file or directory", 127, errno.ENOENT)
    return ExecutableError(f'exec: "{name}": {text}', code, error.errno or 0)
