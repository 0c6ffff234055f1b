"""What must be true of every archive that is unpacked, whatever is in it.

- GNU tar, with a directory of its own as root, makes the same tree of it or refuses it, too;
  where it does not, the difference is one of ``JUSTIFIED``.
- An overlayfs upper layer, mounted, shows what deletion in a copy leaves.
- Nothing beside the root changes; nothing is raised but a BarqueError; no descriptor is left;
  it ends within a deadline; and what was made can be deleted.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from barque.errors import BarqueError
from barque.images.layers import Metered, unpack
from barque.images.tar import BLOCK, Kind, Limits, Source, TarReader
from barque.images.unpack import Layer, Whiteouts
from barque.models.launch import RootfsMount
from barque.snapshots.trash import remove_tree
from barque.snapshots.trees import open_beneath, walk_tree
from barque.snapshots.views import open_view
from support.images import Item, make_tar

DEADLINE_S = 10.0
LIMITS = Limits(entries=2000, total_bytes=16 << 20, file_bytes=1 << 40, depth=64)
_TOOLS = ".tools"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PAGE = 4096
_BEGAN_NS = time.time_ns() - 10**9
"""What was not given a date has one since then."""

BELOW: list[Item] = [
    ("dir", "d", None),
    ("file", "d/a", "lower"),
    ("file", "d/b", "lower"),
    ("dir", "d/e", None),
    ("file", "d/e/a", "lower"),
    ("dir", "e", None),
    ("file", "file", "lower"),
]
"""The layer below the one that is unpacked."""
TRAPS: list[Item] = [("symlink", "trap", "/d"), ("symlink", "b", "../../outside")]
"""Links that may stand in it, too. The same layer is then not the same on a copy, where links of
lower layers are followed, and in an upper layer of overlayfs, which gets a directory that hides
them. Docker's drivers differ in the same way.
"""

Tree = dict[bytes, tuple[object, ...]]
Outcome = Tree | str
"""What was made, or why it was refused."""


class Justified(NamedTuple):
    """A difference to GNU tar that is meant."""

    side: str
    """``ours``: only barque refuses it. ``theirs``: only GNU tar. ``tree``: both made trees."""
    pattern: str
    why: str


JUSTIFIED = (
    Justified(
        "theirs",
        r"excess GNU\.sparse\.map|Unexpected EOF|not recoverable",
        "a map need not be announced by the number of its pieces",
    ),
    Justified("theirs", "overflow in sparse archive member", "a link has no sparse map"),
    Justified(
        "ours",
        "is of the unknown type",
        "GNU tar makes a file of it; what is not understood is no layer",
    ),
    Justified("ours", "is device ", "Linux has 12 bits of major and 20 of minor; GNU tar cuts"),
    Justified("ours", "contains a NUL byte", "GNU tar cuts the name there: two readers, two names"),
    Justified(
        "ours", "has owner 4294967295:|has owner \\d+:4294967295", "-1 says nothing to chown"
    ),
    Justified("ours", "is not in order", "pieces of a sparse file that overlap are a defect"),
    Justified("ours", "ends (within|after) ", "what is cut off is refused, however little"),
    Justified(
        "ours",
        "an extended header is malformed",
        "GNU tar does not look at one that nothing follows",
    ),
    Justified("ours", "is not a decimal number", "GNU tar reads what it can of it"),
    Justified("ours", "is a hard link to the directory", "GNU tar lets one to itself pass"),
    Justified("ours", "cannot be set", "files that lose an attribute are not what was packed"),
    Justified("ours", "directories deep|has size [0-9]{12}", "limits"),
    Justified(
        "ours",
        "replaces a link on its own way",
        "GNU tar makes directories in place of the link, docker fails: two readers, two trees",
    ),
    Justified("ours", "is a directory with content", "readers differ in where the next header is"),
    Justified("ours", "is not an octal number", "GNU tar reads an old base-64 and signs, too"),
    Justified("theirs", "does not look like a tar archive", "a layer may be empty"),
    Justified(
        "theirs",
        r"Cannot (open|mknod|mkdir|mkfifo|hard link to .*|create symlink to .*): "
        "No such file or directory",
        "a link on the way may lead to what a lower layer has: its target is made",
    ),
    Justified(
        "theirs",
        r": File name too long$",
        "a path may be longer than one system call takes: it is made step by step",
    ),
    Justified(
        "theirs",
        r": (Cannot (open|mknod|mkfifo|(create symlink|hard link) to .*): File exists|"
        r"Cannot (open|unlink): (Is a directory|Directory not empty)|Cannot open$)",
        "the last of a name wins, also over a directory that is not empty",
    ),
    Justified(
        "theirs",
        r"is out of (\w+ )?range|where numeric \w+ value expected|Skipping to next",
        "a link has no content, whatever its size; of a mode, twelve bits count",
    ),
    Justified(
        "theirs",
        r"Malformed extended header: invalid [A-Za-z.]+=(\.5)?$",
        "a record without value takes a value back (POSIX); and .5 is half a second",
    ),
    Justified(
        "theirs",
        r"Exiting with failure|Substituting `\.'",
        "these say nothing of a failure",
    ),
    Justified(
        "tree",
        r"mtime: ours -?\d+, theirs 'now'$",
        "GNU tar sets a directory's date when it leaves it, and not again when it comes back",
    ),
    Justified(
        "tree",
        r"content: ours \(\d+, '(\w+)'\), theirs \(\d+, '\1'\)",
        "GNU tar ends a sparse file with its map and not at the size that is written; writers "
        "end both at one place",
    ),
)


class Finding(AssertionError):
    """An archive for which something that must be true is not."""


def is_justified(side: str, line: str) -> bool:
    """Tell whether a difference is one of the table."""
    return any(one.side == side and re.search(one.pattern, line, re.DOTALL) for one in JUSTIFIED)


class Oracle:
    """Unpacks archives below ``base``, a directory of its own that is root's alone."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._outside = base / "outside"
        self._outside.mkdir()
        (self._outside / "secret").write_text("secret")
        (self._outside / "directory").mkdir()
        (self._outside / "directory" / "file").write_text("kept")
        self._lower = base / "lower"
        self._lower.mkdir()
        self._trapped = base / "trapped"
        self._trapped.mkdir()
        _fill(self._lower, BELOW)
        _fill(self._trapped, BELOW + TRAPS)
        self._tools = base / _TOOLS
        _copy_tar(self._tools)
        self._root = base / "root"
        self._before = self._survey()

    def check(self, archive: bytes, blob: bytes) -> None:
        """Unpack ``archive`` in all ways, and ``blob``, the same compressed. Raises Finding."""
        self._compare_with_tar(archive)
        self._unpack_on_copy(blob, BELOW + TRAPS)
        self._unpack_for_overlay(blob, self._trapped)
        deleted = self._unpack_on_copy(blob, BELOW)
        overlaid = self._unpack_for_overlay(blob, self._lower)
        _compare_layers(deleted, overlaid)

    def _compare_with_tar(self, archive: bytes) -> None:
        compare = _is_comparable(archive)

        def plainly() -> None:
            whiteouts = Whiteouts.PLAIN if b".wh." in archive else Whiteouts.IGNORE
            with _opened(self._root) as fd:
                Layer(fd, whiteouts, limits=LIMITS).apply(Source(_cut(archive)))

        with self._new_root():
            ours = self._attempt(plainly, self._root)
        if not compare:
            return
        with self._new_root():
            theirs = self._run_tar(archive)
        match ours, theirs:
            case dict(), dict():
                differences = [
                    line for line in _list_differences(ours, theirs)
                    if not is_justified("tree", line)
                ]  # fmt: skip
                if differences:
                    raise Finding("the trees differ:\n" + "\n".join(differences[:20]))
            case str(), dict() if not is_justified("ours", ours):
                raise Finding(f"only barque refuses it: {ours}")
            case dict(), str():
                lines = [line for line in theirs.splitlines() if line]
                unexpected = [line for line in lines if not is_justified("theirs", line)]
                if unexpected:
                    raise Finding("only GNU tar refuses it:\n" + "\n".join(unexpected[:20]))
            case _:
                return

    def _unpack_on_copy(self, blob: bytes, below: list[Item]) -> Outcome:
        """As the vfs snapshotter does: into a copy of the layer below."""
        with self._new_root():
            _fill(self._root, below)
            mount = RootfsMount(type="bind", source=str(self._root))
            return self._attempt(lambda: _unpack(blob, mount), self._root)

    def _unpack_for_overlay(self, blob: bytes, lower: Path) -> Outcome:
        with self._new_root():
            mount = RootfsMount(type="overlay", lower=[str(lower)], upper=str(self._root))
            return self._attempt(lambda: _unpack(blob, mount), mount)

    def _attempt(self, work: Callable[[], object], where: Path | RootfsMount) -> Outcome:
        """Do ``work``, and check all that must be true after it."""
        descriptors = len(os.listdir("/proc/self/fd"))
        threads = threading.active_count()
        try:
            with _deadline():
                work()
        except BarqueError as error:
            message = str(error)
            if len(message) > 2000:
                raise Finding(f"a message of {len(message)} characters") from error
            outcome: Outcome = message
        except Exception as error:
            raise Finding(f"{type(error).__name__} was raised: {error}") from error
        else:
            outcome = _read(where)
        if len(os.listdir("/proc/self/fd")) != descriptors:
            raise Finding("descriptors were left open")
        if threading.active_count() != threads:
            raise Finding("threads were left")
        if self._survey() != self._before:
            raise Finding("something outside of the root was touched")
        return outcome

    @contextmanager
    def _new_root(self) -> Iterator[None]:
        self._root.mkdir(mode=0o755)
        try:
            yield
        finally:
            with _opened(self._base) as fd:
                remove_tree(fd, b"root")

    def _survey(self) -> Tree:
        found: Tree = {}
        for path in (self._outside, self._lower, self._trapped):
            with _opened(path) as fd:
                for name, status in walk_tree(fd):
                    times = (status.st_mtime_ns, status.st_ctime_ns)
                    found[os.fsencode(path.name) + b"/" + name] = (
                        status.st_mode, status.st_nlink, status.st_uid, status.st_size, times,
                    )  # fmt: skip
            found[os.fsencode(path)] = (path.stat().st_mtime_ns, path.stat().st_mode)
        found[b"/"] = tuple(sorted(os.listdir("/")))
        found[b"beside"] = tuple(sorted(name for name in os.listdir(self._base) if name != "root"))
        return found

    def _run_tar(self, archive: bytes) -> Outcome:
        """Let GNU tar unpack with the directory as its root: then nothing need be withheld."""
        inside = self._root / _TOOLS
        self._tools.rename(inside)
        command = [
            "/usr/sbin/chroot", str(self._root), f"/{_TOOLS}/ld", "--library-path", f"/{_TOOLS}",
            f"/{_TOOLS}/tar", "-xpP", "--numeric-owner", "--xattrs", "--xattrs-include=*",
            "--warning=none", "-f", "-",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, input=archive, capture_output=True, check=False, timeout=60,
                env={"LC_ALL": "C"},
            )  # fmt: skip
            if not done.returncode:
                return _read(self._root)
        finally:
            inside.rename(self._tools)
        return done.stderr.decode("utf-8", "backslashreplace") or f"status {done.returncode}"


def _is_comparable(archive: bytes) -> bool:
    """Tell whether GNU tar reads the archive by the same rules, as far as it can be read.

    It does not clean names of ``..``, but goes there, and makes directories of what ends in
    ``.``; it heeds global extended headers; where
    names of whiteouts are names like any other, we leave the root's attributes; and of a sparse
    file it expects that all pieces but the last are whole blocks.
    """
    if any(archive[at : at + 1] == b"g" for at in range(156, len(archive), BLOCK)):
        return False
    # An empty long name takes itself back; GNU tar takes it for the root.
    starts = range(0, len(archive), BLOCK)
    if b"path=\n" in archive or any(
        archive[at + 156 : at + 157] in {b"K", b"L"}
        and archive[at + BLOCK : at + BLOCK + 1] == b"\0"
        for at in starts
    ):
        return False
    source = Source([archive])
    with suppress(BarqueError):
        for entry in TarReader(source, LIMITS):
            names = [entry.name, *([entry.link] if entry.kind is Kind.LINK else [])]
            if any(b".." in name.split(b"/") for name in names):
                return False
            ending = b"/." if entry.kind is Kind.DIRECTORY else b"."
            if any(name.endswith(ending) for name in names):
                return False
            if b".wh." in archive and not entry.name.strip(b"./"):
                return False
            if entry.extents is not None and not entry.extents:
                return False
            if any(length % BLOCK for _, length in (entry.extents or [])[:-1]):
                return False
    return not source.read(BLOCK).strip(b"\0")  # of a lone zero block it looks at what follows


def _copy_tar(tools: Path) -> None:
    """Put GNU tar and what it needs into one directory."""
    tools.mkdir()
    tar = shutil.which("tar")
    assert tar is not None
    shutil.copy(tar, tools / "tar")
    listed = subprocess.run(["ldd", tar], capture_output=True, text=True, check=True).stdout
    for path in map(Path, re.findall(r"(/\S+)", listed)):
        shutil.copy(path, tools / ("ld" if path.name.startswith("ld-") else path.name))


def _fill(path: Path, items: list[Item]) -> None:
    with _opened(path) as fd:
        Layer(fd).apply(Source([make_tar(items)]))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _deadline() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"it had not ended after {DEADLINE_S} seconds")

    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def _cut(archive: bytes, step: int = 1000) -> list[bytes]:
    return [archive[at : at + step] for at in range(0, len(archive), step)]


def _unpack(blob: bytes, mount: RootfsMount) -> None:
    unpack(Metered(io.BytesIO(blob), threading.Event()), mount, "sha256:parent", LIMITS)


def _read(where: Path | RootfsMount) -> Tree:
    with ExitStack() as stack:
        opener = _opened(where) if isinstance(where, Path) else open_view(where)
        return read_tree(stack.enter_context(opener))


def read_tree(root: int) -> Tree:
    """Describe all below ``root``: attributes, contents, and which names are one file."""
    found: Tree = {}
    links: dict[tuple[int, int], bytes] = {}
    for path, status in [(b"", os.fstat(root)), *walk_tree(root)]:
        if path.partition(b"/")[0] == _TOOLS.encode():
            continue
        kind = stat.S_IFMT(status.st_mode)
        detail: object = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else None
        if kind == stat.S_IFLNK:
            detail = _read_link(root, path)
        elif kind == stat.S_IFREG:
            detail = _read_file(root, path, status.st_size)
        found[path] = (
            stat.filemode(status.st_mode),
            (status.st_uid, status.st_gid),
            "now" if status.st_mtime_ns >= _BEGAN_NS else status.st_mtime_ns,
            detail,
            None
            if kind == stat.S_IFDIR
            else links.setdefault((status.st_dev, status.st_ino), path),
            _read_xattrs(root, path, kind),
        )
    return found


@contextmanager
def _parent(root: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    parent, _, base = path.rpartition(b"/")
    fd = open_beneath(root, parent)
    try:
        yield fd, base or b"."
    finally:
        os.close(fd)


def _read_link(root: int, path: bytes) -> bytes:
    with _parent(root, path) as (fd, base):
        return os.readlink(base, dir_fd=fd)


def _read_file(root: int, path: bytes, size: int) -> tuple[int, str]:
    """Return size and a hash of the pages that are not zero: files may be huge and empty."""
    digest = hashlib.sha256()
    with _parent(root, path) as (parent, base):
        fd = os.open(base, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            at = 0
            while at < size:
                try:
                    at = os.lseek(fd, at, os.SEEK_DATA) // _PAGE * _PAGE
                except OSError:
                    break
                data = os.pread(fd, _PAGE, at)
                if data := data.rstrip(b"\0"):
                    digest.update(b"%d:" % at + data)
                at += _PAGE
        finally:
            os.close(fd)
    return size, digest.hexdigest()[:12]


def _read_xattrs(root: int, path: bytes, kind: int) -> dict[str, bytes | int | None]:
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        return {}
    found: dict[str, bytes | int | None] = {}
    with _parent(root, path) as (fd, base):
        where = b"/proc/self/fd/%d/%s" % (fd, base)
        for name in sorted(os.listxattr(where, follow_symlinks=False)):
            if name.startswith("trusted.overlay."):
                continue
            try:
                found[name] = os.getxattr(where, name, follow_symlinks=False)
            except OSError as error:  # as for capabilities that are none
                found[name] = error.errno
    return found


_ASPECTS = ("mode", "owner", "mtime", "content", "same file as", "xattrs")


def _list_differences(ours: Tree, theirs: Tree) -> list[str]:
    lines = []
    for path in sorted({*ours, *theirs}):
        mine, other = ours.get(path), theirs.get(path)
        if mine is None or other is None:
            lines.append(f"{path!r}: ours {mine}, theirs {other}")
            continue
        lines += [
            f"{path!r}: {aspect}: ours {one!r}, theirs {two!r}"
            for aspect, one, two in zip(_ASPECTS, mine, other, strict=True)
            if one != two
        ]
    return lines


def _compare_layers(deleted: Outcome, overlaid: Outcome) -> None:
    """Compare what a copy with deletions holds with what overlayfs shows."""
    if isinstance(deleted, str) and isinstance(overlaid, str):
        return
    if isinstance(deleted, str) and "is not a directory, but a parent" in deleted:
        return  # a file of a lower layer: overlayfs's directory hides it
    if isinstance(deleted, str) or isinstance(overlaid, str):
        raise Finding(f"the snapshotters differ: copy {deleted!r:.500}, overlay {overlaid!r:.500}")
    # A directory that gets something new has a new date, unless overlayfs's own one has it;
    # and a device 0:0 is a whiteout to overlayfs.
    meant = r"mtime: ours 'now', theirs 0$|: ours \('c.{10}.*, 0, b'.*, theirs None$"
    lines = [line for line in _list_differences(deleted, overlaid) if not re.search(meant, line)]
    if lines:
        raise Finding("copy (ours) and overlay (theirs) differ:\n" + "\n".join(lines[:20]))
