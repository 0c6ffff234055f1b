"""What engine, spawner and shim say to each other, one datagram a message.

All sockets are AF_UNIX SOCK_SEQPACKET; descriptors travel beside a message (SCM_RIGHTS), in
the order that the message's comment gives. Large documents travel as a memfd, so that a
message is always small.

::

    spawner → engine   READY                  once: everything is loaded
    spawner → engine   SHIM                   + the socket of a shim that waits
    engine → spawner   ANOTHER                one of them was taken
    engine → shim      Launch                 + lock, control, document, clients…, joins…
    shim → engine      Wire                         first, if the launch wants it; engine: Wired
    shim → engine      Started | StartFailed        first on the control socket otherwise
    engine → shim      Attach, Exec, Signal, …      each has a sequence number
    shim → engine      Reply                        with the same number
    shim → engine      Exited, ExecExited, Detached whenever it happens

After a restart the engine connects to ``shim.sock`` in the shim's directory and asks State.
The shim needs no engine: it goes on alone, and the exit record is on disk before anybody is
told.
"""

from __future__ import annotations

import os

import msgspec

from barque.models.launch import ExitRecord, ExternalRuntime, LogTarget

EXIT_RECORD = "exit.json"
SOCKET_NAME = "shim.sock"

READY, SHIM, ANOTHER = b"ready", b"shim", b"another"
EXTERNAL = b" external"


class ClientSpec(msgspec.Struct, omit_defaults=True):
    """How an attached client wants the streams; its socket travels beside it."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    multiplexed: bool = True
    detach_keys: bytes = b""


class Streams(msgspec.Struct, omit_defaults=True):
    """The standard streams of a container or exec."""

    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    console_size: tuple[int, int] | None = None


class Launch(msgspec.Struct, tag="launch"):
    """Start a container.

    Descriptors: lock, control, document, one a client, the joined namespaces. ``directory`` is
    the shim's own, made by the engine; ``mount_point`` an empty directory.

    The lock is an open ``directory`` with flock(2) on it. From the moment the message is sent it
    is held by whoever carries the start on: the message in the waiting shim's queue, the shim's
    helper, the shim. So whether a container has anybody who runs or will run it is known from the
    lock, also to an engine that was started in between.
    """

    id: str
    directory: str
    mount_point: str
    clone_flags: int
    cgroups_path: str
    streams: Streams
    log: LogTarget | None
    clients: list[ClientSpec]
    joins: dict[str, int]
    runtime: ExternalRuntime | None = None
    """Who makes the container in our stead. The message's first line ends in EXTERNAL then."""
    owner: tuple[int, int] = (0, 0)
    """The host's ids of the container's root: its pipes are his."""
    wired: bool = False
    """The engine wires the network namespace that the container makes; see Wire."""


class Attach(msgspec.Struct, tag="attach"):
    """Attach one more client. Descriptor: its socket."""

    seq: int
    client: ClientSpec


class Exec(msgspec.Struct, tag="exec"):
    """Run a further process. Descriptors: document, and its client if there is one."""

    seq: int
    exec_id: str
    streams: Streams
    client: ClientSpec | None


class Signal(msgspec.Struct, tag="signal"):
    """Signal the init, or the exec named."""

    seq: int
    number: int
    exec_id: str = ""


class Resize(msgspec.Struct, tag="resize"):
    """Resize the terminal of the container, or of the exec named."""

    seq: int
    height: int
    width: int
    exec_id: str = ""


class Namespaces(msgspec.Struct, tag="namespaces"):
    """Ask for descriptors of the init's namespaces, by OCI type. They come with the Reply."""

    seq: int
    types: list[str]


class State(msgspec.Struct, tag="state"):
    """Ask what runs. Answered by Running."""

    seq: int


class Acknowledge(msgspec.Struct, tag="ack"):
    """The engine has recorded the exec's exit: its client may be let go."""

    exec_id: str


class Wired(msgspec.Struct, tag="wired", omit_defaults=True):
    """The network is as the container is to find it; ``error`` says why not."""

    error: str = ""


Request = Attach | Exec | Signal | Resize | Namespaces | State | Acknowledge


class ExecState(msgspec.Struct):
    """One exec: ``exit_code`` is None while it runs."""

    pid: int
    exit_code: int | None = None


class Wire(msgspec.Struct, tag="wire"):
    """The container's network namespace, its descriptor, is there to be wired.

    The program does not run before the engine answers with Wired.
    """


class Started(msgspec.Struct, tag="started"):
    """The program runs. ``warnings`` say what the machine did not grant."""

    pid: int
    warnings: list[str] = []


class StartFailed(msgspec.Struct, tag="start_failed"):
    """The program did not start; nothing is left of it."""

    stage: str
    errno: int
    message: str
    exit_code: int


class Reply(msgspec.Struct, tag="reply", omit_defaults=True):
    """The answer to a request. ``error`` is "" on success; else message and exit code."""

    seq: int
    error: str = ""
    errno: int = 0
    exit_code: int = 0
    pid: int = 0
    types: list[str] = []


class Running(msgspec.Struct, tag="running"):
    """The answer to State."""

    seq: int
    pid: int
    execs: dict[str, ExecState]


class Exited(msgspec.Struct, tag="exited"):
    """The container has ended; the record is on disk."""

    record: ExitRecord


class ExecExited(msgspec.Struct, tag="exec_exited"):
    """An exec has ended."""

    exec_id: str
    code: int


class Detached(msgspec.Struct, tag="detached"):
    """A client typed the detach keys. ``exec_id`` is "" for the container's own streams."""

    exec_id: str


Notice = Wire | Started | StartFailed | Reply | Running | Exited | ExecExited | Detached

encode = msgspec.json.Encoder().encode
decode_launch = msgspec.json.Decoder(Launch).decode
decode_request = msgspec.json.Decoder(Request).decode
decode_wired = msgspec.json.Decoder(Wired).decode
decode_notice = msgspec.json.Decoder(Notice).decode


def document(data: bytes, name: str) -> int:
    """``data`` in a memfd. The caller owns the descriptor."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def read_document(fd: int) -> bytes:
    """All of a memfd, and close it."""
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    os.close(fd)
    return data
