"""Archives that attack whoever unpacks them, and what must become of each: a table.

In names and links ``@`` stands for the absolute path of a directory that must not be touched, and
``^`` for the same by way of many ``..``. A case says either with which words it is refused, or
which tree it makes, alone in an empty root: ``describe`` of ``support.trees`` by path. What
stands below ``@`` in a tree stands below that path *inside* the root.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

import zstandard

from support.images import END, Item, make_header, make_member, make_pax, make_tar

UP = "../" * 12
Content = list[Item] | bytes | Callable[[], bytes]
DIR, PWNED = "dir", "file 'pwned'"
SECRET = {"@": DIR, "@/secret": PWNED}
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


class Case(NamedTuple):
    """One archive, and what must happen."""

    name: str
    content: Content
    """Entries, or the archive itself."""
    verdict: str | dict[str, str]
    """The words of the refusal (a regular expression), or the tree."""

    def build(self, outside: str) -> bytes:
        """Make the archive; ``outside`` is what must not be touched."""
        if isinstance(self.content, bytes):
            return self.content
        if not isinstance(self.content, list):
            return self.content()
        return make_tar(self.placed(outside))

    def placed(self, outside: str) -> list[Item]:
        """Return the entries, with what ``@`` and ``^`` stand for."""
        assert isinstance(self.content, list)
        relative = UP + outside.lstrip("/")

        def put(text: str) -> str:
            return text.replace("@", outside).replace("^", relative)

        return [
            (kind, put(name), put(value) if kind in {"symlink", "link"} else value)
            for kind, name, value in self.content
        ]


def plant(target: str, *after: Item) -> list[Item]:
    """Plant a link to ``target``, then do something through it."""
    return [("symlink", "trap", target), *after]


LINKED = {"trap": "-> @", **SECRET}
"""What a link planted on ``@`` and a file written through it make."""

CLIMBING = (
    Case("an absolute name", [("file", "@/secret", "pwned")], SECRET),
    Case("a name with dots", [("file", "^/secret", "pwned")], SECRET),
    Case(
        "dots within",
        [("dir", "a", None), ("file", "a/b/^/secret", "pwned")],
        {"a": DIR, **SECRET},
    ),
    Case("two slashes", [("file", "//@/secret", "pwned")], SECRET),
    Case("an absolute directory", [("dir", "@", None)], {"@": DIR}),
    Case("through an absolute link", plant("@", ("file", "trap/secret", "pwned")), LINKED),
    Case(
        "through a relative link",
        plant("^", ("file", "trap/secret", "pwned")),
        {"trap": "-> ^", **SECRET},
    ),
    Case(
        "through a link to /",
        plant("/", ("file", "trap@/secret", "pwned")),
        {"trap": "-> /", **SECRET},
    ),
    Case(
        "through a link to ..",
        plant("..", ("file", "trap/outside/secret", "pwned")),
        {"trap": "-> ..", "outside": DIR, "outside/secret": PWNED},
    ),
    Case(
        "through a chain of links",
        [
            ("symlink", "a", ".."),
            ("symlink", "b", "a/.."),
            ("symlink", "c", "b/.."),
            ("file", "c/outside/secret", "pwned"),
        ],
        {"a": "-> ..", "b": "-> a/..", "c": "-> b/..", "outside": DIR, "outside/secret": PWNED},
    ),
    Case("over a link to a file", plant("@/secret", ("file", "trap", "pwned")), {"trap": PWNED}),
    Case("over a dangling link", plant("@/new", ("file", "trap", "pwned")), {"trap": PWNED}),
    Case(
        "a directory over a link",
        plant("@", ("dir", "trap", None), ("file", "trap/new", "x")),
        {"trap": DIR, "trap/new": "file 'x'"},
    ),
    Case(
        "new directories through a link",
        plant("@", ("dir", "trap/d/e", None)),
        {"trap": "-> @", "@": DIR, "@/d": DIR, "@/d/e": DIR},
    ),
    Case(
        "a device through a link",
        plant("@", ("char", "trap/null", (1, 3))),
        {"trap": "-> @", "@": DIR, "@/null": "char 1:3"},
    ),
    Case(
        "a FIFO through a link",
        plant("@", ("fifo", "trap/fifo", None)),
        {"trap": "-> @", "@": DIR, "@/fifo": "fifo"},
    ),
    Case(
        "a link through a link",
        plant("@", ("symlink", "trap/new", "/etc")),
        {"trap": "-> @", "@": DIR, "@/new": "-> /etc"},
    ),
    Case(
        "a directory replaced by a link",
        [
            ("dir", "d", None),
            ("file", "d/x", "1"),
            ("symlink", "d", "@"),
            ("file", "d/secret", "pwned"),
        ],
        {"d": "-> @", **SECRET},
    ),
    Case(
        "a link replaced by a directory and back",
        plant(
            "@",
            ("dir", "trap", None),
            ("symlink", "trap", "@"),
            ("file", "trap/secret", "pwned"),
            ("dir", "trap", None),
            ("file", "trap/secret", "pwned"),
        ),
        {**SECRET, "trap": DIR, "trap/secret": PWNED},
    ),
    Case(
        "a parent directory replaced while it is open",
        [
            ("dir", "a/b", None),
            ("file", "a/b/x", "1"),
            ("symlink", "a", "@"),
            ("file", "a/b/secret", "pwned"),
        ],
        {"a": "-> @", "@": DIR, "@/b": DIR, "@/b/secret": PWNED},
    ),
    Case(
        "a file replaced by a link and back",
        [("file", "f", "1"), ("symlink", "f", "@/secret"), ("file", "f", "pwned")],
        {"f": PWNED},
    ),
    Case("the date of a link's target", plant("@", ("dir", "trap/.", None)), {"trap": DIR}),
    Case(
        "through /proc/self/root",
        plant("/proc/self/root", ("file", "trap@/secret", "pwned")),
        {
            "trap": "-> /proc/self/root",
            "proc": DIR,
            "proc/self": DIR,
            "proc/self/root": DIR,
            "proc/self/root/@": DIR,
            "proc/self/root/@/secret": PWNED,
        },
    ),
    Case(
        "through a descriptor in /proc",
        plant("/proc/self/fd/3", ("file", "trap/../outside/secret", "pwned")),
        {"trap": "-> /proc/self/fd/3", "outside": DIR, "outside/secret": PWNED},
    ),
    Case(
        "links in a circle",
        [("symlink", "a", "b"), ("symlink", "b", "a"), ("file", "a/x", "x")],
        "cannot be entered",
    ),
    Case(
        "a link without end", [("symlink", "a", "a/a"), ("file", "a/x", "x")], "cannot be entered"
    ),
    Case(
        "a link longer than a path may be", [("symlink", "a", "x" * 5000)], "a target of 5000 bytes"
    ),
)

LINKS = (
    Case("a hard link to what is outside", [("link", "hard", "@/secret")], "does not exist"),
    Case("a hard link with dots", [("link", "hard", "^/secret")], "does not exist"),
    Case(
        "a hard link through a link",
        plant("@", ("link", "hard", "trap/secret")),
        "does not exist",
    ),
    Case(
        "a hard link to a planted link, written to",
        plant("@/secret", ("link", "hard", "trap"), ("file", "hard", "pwned")),
        {"trap": "-> @/secret", "hard": PWNED},
    ),
    Case(
        "a hard link made outside",
        [("file", "a", "pwned"), ("link", "@/new", "a")],
        {"a": PWNED, "@": DIR, "@/new": "same as a"},
    ),
    Case(
        "a hard link made through a link",
        plant("@", ("file", "a", "pwned"), ("link", "trap/new", "a")),
        {"trap": "-> @", "a": PWNED, "@": DIR, "@/new": "same as a"},
    ),
    Case("a hard link to nothing", [("link", "hard", "none")], "does not exist"),
    Case(
        "a hard link to a directory",
        [("dir", "d", None), ("link", "hard", "d")],
        "a hard link to the directory",
    ),
    Case("a hard link to the root", [("link", "hard", "/")], "is a hard link to '/'"),
    Case("a hard link to itself, absent", [("link", "a", "a")], "does not exist"),
    Case("a hard link to itself", [("file", "a", "x"), ("link", "a", "a")], {"a": "file 'x'"}),
    Case(
        "a hard link to a whiteout",
        [("file", "a", "x"), ("file", ".wh.a", ""), ("link", "b", ".wh.a")],
        "is a hard link to '.wh.a'",
    ),
    Case(
        "a hard link without a target", make_member(b"l", kind=b"1") + END, "is a hard link to ''"
    ),
    Case(
        "a hard link to a device",
        [("char", "null", (1, 3)), ("link", "also", "null")],
        {"also": "char 1:3", "null": "same as also"},
    ),
)

ROOTS = (
    Case("the root as a link", [("symlink", ".", "@")], "its root is a symbolic link"),
    Case("the root as a link, by dots", [("symlink", "..", "@")], "its root is a symbolic link"),
    Case("the root as a link, by a slash", [("symlink", "/", "@")], "its root is a symbolic link"),
    Case("the root as a file", [("file", "/", "pwned")], "is a directory with content"),
    Case("the root as an empty file", make_member(b".") + END, "its root is a file"),
    Case("the root as a device", [("char", ".", (1, 3))], "its root is a character device"),
    Case("the root as a FIFO", [("fifo", "./", None)], "its root is a FIFO"),
    Case("the root as a hard link", [("link", ".", "@")], "its root is a hard link"),
    Case("the root twice", [("dir", ".", None), ("dir", "./", None)], {}),
    Case("an empty name", make_member(b"", kind=b"5") + END, {}),
    Case("an empty name of a file", make_member(b"", b"x") + END, "its root is a file"),
    Case(
        "dots and slashes at the ends",
        [("dir", "./a//", None), ("file", ".//a/./b", "x"), ("dir", "a/.", None)],
        {"a": DIR, "a/b": "file 'x'"},
    ),
)

WHITEOUTS = (
    Case(  # in a lower layer, where there is one
        "a hard link to what it hides",
        [("link", "a", "base/kept"), ("file", "base/.wh.kept", "")],
        "it hides 'base/kept', to which it has a hard link|which does not exist",
    ),
    Case(
        "a hard link to what it has hidden",
        [("file", "base/.wh..wh..opq", ""), ("link", "a", "base/kept")],
        "it hides 'base/kept', to which it has a hard link|which does not exist",
    ),
    Case("a whiteout outside", [("file", "@/.wh.secret", "")], {}),
    Case("a whiteout with dots", [("file", "^/.wh.secret", "")], {}),
    Case(
        "a whiteout through a link", plant("@", ("file", "trap/.wh.secret", "")), {"trap": "-> @"}
    ),
    Case("a whiteout of ..", [("file", "a/.wh...", "")], "is not the whiteout of a name"),
    Case("a whiteout of .", [("file", "a/.wh..", "")], "is not the whiteout of a name"),
    Case("a whiteout of nothing", [("file", ".wh.", "")], "is not the whiteout of a name"),
    Case("a whiteout with a slash", [("file", ".wh.a/b", "")], "is inside a whiteout"),
    Case("a whiteout as a directory", [("dir", ".wh.a", None)], {}),
    Case("a whiteout as a link", [("symlink", ".wh.a", "@")], {}),
    Case("a whiteout with content", [("file", ".wh.a", "x" * 2000)], {}),
    Case("a whiteout of a whiteout", [("file", ".wh..wh.a", "")], {}),
    Case("a whiteout of a link", plant("@", ("file", ".wh.trap", "")), {"trap": "-> @"}),
    Case(
        "a whiteout after its file", [("file", "a", "x"), ("file", ".wh.a", "")], {"a": "file 'x'"}
    ),
    Case(
        "a whiteout before its file", [("file", ".wh.a", ""), ("file", "a", "x")], {"a": "file 'x'"}
    ),
    Case("an opaque directory outside", [("file", "@/.wh..wh..opq", "")], {}),
    Case(
        "an opaque directory through a link",
        plant("@", ("file", "trap/.wh..wh..opq", "")),
        {"trap": "-> @"},
    ),
    Case(
        "an opaque directory through dots",
        plant("..", ("file", "trap/outside/.wh..wh..opq", "")),
        {"trap": "-> .."},
    ),
    Case("an opaque root", [("file", ".wh..wh..opq", ""), ("file", "a", "x")], {"a": "file 'x'"}),
    Case(
        "opaque where a file is",
        [("file", "a", "x"), ("file", "a/.wh..wh..opq", "")],
        {"a": "file 'x'"},
    ),
    Case("inside of an opaque mark", [("file", ".wh..wh..opq/x", "")], {}),
    Case("a whiteout as overlayfs has it", [("char", "a", (0, 0))], {"a": "char 0:0"}),
)


def _xattr(name: bytes, value: bytes = b"x", kind: bytes = b"0") -> bytes:
    pax = make_pax({b"SCHILY.xattr." + name: value})
    return pax + make_member(b"f", kind=kind, link=b"/etc/passwd" if kind == b"2" else b"") + END


_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, mode, 0xFFFFFFFF) for tag, mode in ((1, 6), (4, 4), (32, 4))
)

ATTRIBUTES = (
    Case("overlay's redirect", _xattr(b"trusted.overlay.redirect", b"/../..", b"5"), {"f": "dir mode 644"}),
    Case("overlay's opaque", _xattr(b"trusted.overlay.opaque", b"y", b"5"), {"f": "dir mode 644"}),
    Case("overlay's metacopy", _xattr(b"trusted.overlay.metacopy", b""), {"f": "file ''"}),
    Case("overlay's origin", _xattr(b"trusted.overlay.origin", bytes(30)), {"f": "file ''"}),
    Case(
        "a user's overlay",  # means something only to mounts that we do not make
        _xattr(b"user.overlay.redirect", b"/../..", b"5"),
        {"f": "dir mode 644 user.overlay.redirect=/../.."},
    ),
    Case("a capability", _xattr(b"security.capability", CAPABILITY), {
        "f": "file '' security.capability=" + CAPABILITY.decode("latin-1")}),
    Case("a capability that is none", _xattr(b"security.capability"), "cannot be set"),
    Case(
        "a capability of a link",
        _xattr(b"security.capability", CAPABILITY, b"2"),
        {"f": "-> /etc/passwd security.capability=" + CAPABILITY.decode("latin-1")},
    ),
    Case("an ACL", _xattr(b"system.posix_acl_access", _ACL), {
        "f": "file ''"}),
    Case("an ACL that is none", _xattr(b"system.posix_acl_access"), "cannot be set"),
    Case("an attribute without a name", _xattr(b""), "cannot be set"),
    Case("an attribute of no name space", _xattr(b"nonsense"), {"f": "file ''"}),
    Case("a name of 300 bytes", _xattr(b"user." + b"a" * 300), "cannot be set"),
    Case("NUL in an attribute's name", _xattr(b"user.a\0b"), "extended header is malformed"),
    Case("an attribute of 900 kB", _xattr(b"user.a", b"x" * 900_000), "cannot be set"),
    Case(
        "setuid and sticky where they mean nothing",
        make_member(b"d", kind=b"5", mode=b"0007777\0")
        + make_member(b"p", kind=b"6", mode=b"0007777\0")
        + make_member(b"c", kind=b"3", mode=b"0007777\0", major=b"0000001\0", minor=b"0000003\0")
        + make_member(b"l", kind=b"2", mode=b"0007777\0", link=b"x")
        + END,
        {"d": "dir mode 7777", "p": "fifo mode 7777", "c": "char 1:3 mode 7777", "l": "-> x"},
    ),
    Case("a mode of 33 bits", make_member(b"f", mode=b"\x80\0\0\1\0\0\x01\xa4") + END, {
        "f": "file ''"}),
    Case("the last owner", make_pax({b"uid": b"4294967294"}) + make_member(b"f") + END, {
        "f": "file '' owner 4294967294:0"}),
    Case("owner minus one", make_pax({b"uid": b"4294967295"}) + make_member(b"f") + END,
         "has owner 4294967295:0"),
    Case("an owner of 33 bits", make_pax({b"gid": b"4294967296"}) + make_member(b"f") + END,
         "has owner 0:4294967296"),
    Case("an owner of 64 bits", make_pax({b"uid": b"9" * 20}) + make_member(b"f") + END,
         "has owner 9"),
    Case("a negative owner", make_member(b"f", uid=b"\xff" * 8) + END, "has owner -1:0"),
)  # fmt: skip


def _dated(text: bytes) -> bytes:
    return make_pax({b"mtime": text}) + make_member(b"f") + END


DATES = (
    Case("before 1970", _dated(b"-1.25"), {"f": "file '' at -1250000000"}),
    Case("after 2106", _dated(b"4294967297"), {"f": "file '' at 4294967297000000000"}),
    Case("a date that is no number", _dated(b"nan"), "is not a decimal number"),
    Case("a date without end", _dated(b"inf"), "is not a decimal number"),
    Case("a date with an exponent", _dated(b"1e300"), "is not a decimal number"),
    Case("a date of 20 digits", _dated(b"9" * 20), "absurd date"),
    Case("a date of 1000 digits", _dated(b"9" * 1000), "is not a decimal number"),
    Case("a thousand decimals", _dated(b"1." + b"9" * 1000), {"f": "file '' at 1999999999"}),
    Case("no date", _dated(b""), {"f": "file ''"}),
    Case(
        "a date by base 256",
        make_member(b"f", mtime=(-(1 << 80)).to_bytes(12, "big", signed=True)) + END,
        "absurd date",
    ),
)


def _pax_raw(text: bytes) -> bytes:
    return make_member(b"x", text, b"x") + make_member(b"f") + END


EXTENSIONS = (
    Case("an extended header of length zero", _pax_raw(b""), {"f": "file ''"}),
    Case("a record of length zero", _pax_raw(b"0 a=b\n"), "extended header is malformed"),
    Case("a negative length", _pax_raw(b"-6 a=b\n"), "extended header is malformed"),
    Case("a length past the end", _pax_raw(b"99 a=b\n"), "extended header is malformed"),
    Case("a length that is too short", _pax_raw(b"5 a=b\n"), "extended header is malformed"),
    Case("a huge length", _pax_raw(b"9" * 19 + b" a=b\n"), "extended header is malformed"),
    Case("a length without end", _pax_raw(b"9" * 30 + b"\n"), "extended header is malformed"),
    Case("a record without =", _pax_raw(b"6 abc\n"), "extended header is malformed"),
    Case("a record without a key", _pax_raw(b"6 =ab\n"), "extended header is malformed"),
    Case("a record without newline", _pax_raw(b"6 a=bc"), "extended header is malformed"),
    Case("NUL in a key", _pax_raw(b"7 a\0=b\n"), "extended header is malformed"),
    Case(
        "an extended header of 8 GB", make_header(b"x", b"x", b"77777777777\0") + END,
        "an extended header of 8589934591 bytes",
    ),
    Case(
        "a negative extended header",
        make_header(b"x", b"x", (-1).to_bytes(12, "big", signed=True)) + END,
        "an extended header of -1 bytes",
    ),
    Case("many extended headers", lambda: make_member(b"x", b"", b"x") * 6000, "entries allowed"),
    Case("an extended header at the end", make_pax({b"path": b"f"}) + END, "ends after an extended"),
    Case("a global header", make_member(b"g", b"12 path=/x\n\n"[:12], b"g") + make_member(b"f") + END,
         {"f": "file ''"}),
    Case(
        "NUL in a name",
        make_pax({b"path": b"ok\0/../../outside/secret"}) + make_member(b"f") + END,
        "contains a NUL byte",
    ),
    Case(
        "NUL in a link",
        make_pax({b"linkpath": b"a\0b"}) + make_member(b"l", kind=b"2") + END,
        "contains a NUL byte",
    ),
    Case("a newline in a name", make_pax({b"path": b"a\n12 path=b\n"}) + make_member(b"f") + END,
         {"a\n12 path=b\n": "file ''"}),
    Case("a name that is no text", make_pax({b"path": b"\xff\xfe"}) + make_member(b"f") + END,
         {"\udcff\udcfe": "file ''"}),
    Case(
        "the same key twice",
        make_member(b"x", b"10 path=a\n10 path=b\n", b"x") + make_member(b"f") + END,
        {"b": "file ''"},
    ),
    Case(
        "two extended headers",
        make_pax({b"path": b"a"}) + make_pax({b"uid": b"7"}) + make_member(b"f") + END,
        {"f": "file '' owner 7:0"},
    ),
    Case("a name of slashes", make_pax({b"path": b"/" * 5000}) + make_member(b"f", kind=b"5") + END,
         {}),
    Case("a size that is none", make_pax({b"size": b"1e3"}) + make_member(b"f") + END,
         "is not a decimal number"),
    Case("a negative size in words", make_pax({b"size": b"-1"}) + make_member(b"f") + END,
         "is not a decimal number"),
    Case("a size of 26 digits", make_pax({b"size": b"9" * 26}) + make_member(b"f") + END,
         "is not a decimal number"),
    Case(
        "a size against the header's",
        make_pax({b"size": b"0"}) + make_member(b"f", make_member(b"smuggled")) + END,
        {"f": "file ''", "smuggled": "file ''"},
    ),
    Case("a long name without its end", make_member(b"L", b"abc", b"L") + make_member(b"f") + END,
         {"abc": "file ''"}),
    Case("a long name that nothing follows", make_member(b"L", b"abc\0", b"L") + END, "ends after"),
    Case(
        "two long names",
        make_member(b"L", b"a\0", b"L") + make_member(b"L", b"b\0", b"L") + make_member(b"f") + END,
        {"b": "file ''"},
    ),
    Case("an empty long name", make_member(b"L", b"\0", b"L") + make_member(b"f") + END,
         {"f": "file ''"}),
    Case("a long name of 8 GB", make_header(b"L", b"L", b"77777777777\0") + END,
         "an extended header of 8589934591 bytes"),
    Case(
        "a long name outside",
        make_member(b"L", b"../../outside/secret\0", b"L") + make_member(b"f", b"pwned") + END,
        {"outside": DIR, "outside/secret": PWNED},
    ),
    Case(
        "a long link",
        make_member(b"K", b"t" * 300 + b"\0", b"K") + make_member(b"l", kind=b"2", link=b"u") + END,
        {"l": "-> " + "t" * 300},
    ),
)  # fmt: skip


def _sparse(stored: bytes = b"x", **records: bytes) -> bytes:
    named = {b"GNU.sparse." + key.encode(): value for key, value in records.items()}
    return make_pax(named) + make_member(b"f", stored) + END


def _sparse_1_0(text: bytes, stored: bytes = b"", size: bytes = b"100") -> bytes:
    body = text + bytes(-len(text) % 512) + stored
    return _sparse(body, major=b"1", minor=b"0", name=b"f", realsize=size)


def _old_sparse(extents: bytes, size: bytes, *, more: int = 0, stored: bytes = b"") -> bytes:
    block = bytearray(make_member(b"f", stored, b"S", magic=b"ustar  \0"))
    block[386 : 386 + len(extents)] = extents
    block[482] = more
    block[483 : 483 + len(size)] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


HUGE = b"4611686018427387904"  # 2**62
SPARSE = (
    Case("a sparse file of 2**62 bytes", _sparse(map=b"0,1", size=HUGE), f"has size {HUGE.decode()}"),
    Case("a sparse file of 18 digits", _sparse(map=b"0,1", size=b"9" * 18), "has size 9"),
    Case("a piece past the end", _sparse(map=b"10,1", size=b"5"), "is not in order"),
    Case("pieces backwards", _sparse(b"x" * 10, map=b"10,5,0,5", size=b"20"), "is not in order"),
    Case("pieces that overlap", _sparse(b"x" * 10, map=b"0,5,3,5", size=b"20"), "is not in order"),
    Case("a negative piece", _sparse(map=b"0,-1", size=b"20"), "is not a decimal number"),
    Case("half a piece", _sparse(map=b"0,1,2", size=b"20"), "an odd number of numbers"),
    Case("more than is stored", _sparse(map=b"0,9", size=b"20"), "covers 9 bytes, but 1 are stored"),
    Case("no size", _sparse(map=b"0,1"), "is not a decimal number"),
    Case("format 9.0", _sparse(major=b"9", minor=b"0"), "which nobody knows"),
    Case(
        "many pieces",
        lambda: _sparse(b"", map=b",".join(b"%d,0" % n for n in range(100_001)), size=b"200000"),
        "an extended header of|in more than the 100000 pieces",
    ),
    Case(
        "a sparse name outside",
        _sparse(map=b"0,1", size=b"1", name=b"../../outside/secret"),
        {"outside": DIR, "outside/secret": "file 'x'"},
    ),
    Case(
        "format 0.0",
        make_member(b"x", b"24 GNU.sparse.numblocks=1\n"[:0] + b"22 GNU.sparse.size=20\n"
                    b"26 GNU.sparse.numblocks=1\n23 GNU.sparse.offset=5\n"
                    b"25 GNU.sparse.numbytes=1\n", b"x") + make_member(b"f", b"x") + END,
        {"f": "file '\\x00\\x00\\x00\\x00\\x00x" + "\\x00" * 14 + "'"},
    ),
    Case("format 0.0 with half a piece", _sparse(numblocks=b"1", offset=b"5", size=b"9"),
         "an odd number of numbers"),
    Case("a map that is cut off", _sparse_1_0(b"2\n0\n"), "too long|absurd|not a decimal"),
    Case("a map without end", _sparse_1_0(b"99999999\n"), "an absurd number|too long|not a decimal"),
    Case("a map of digits", _sparse_1_0(b"1" * 600), "an absurd number"),
    Case("a negative map", _sparse_1_0(b"-1\n"), "is not a decimal number"),
    Case("a map that overlaps", _sparse_1_0(b"2\n0\n5\n3\n5\n", b"x" * 10), "is not in order"),
    Case("a map of an empty file", _sparse_1_0(b"0\n", size=b"0"), {"f": "file ''"}),
    Case("an old map past the end", _old_sparse(b"%011o\0%011o\0" % (50, 5), b"%011o\0" % 20,
                                                stored=b"x" * 5) + END, "is not in order"),
    Case("an old map cut off", _old_sparse(b"", b"%011o\0" % 20, more=1), "ends within a sparse header"),
    Case(
        "an old map without end",
        lambda: _old_sparse(b"", b"%011o\0" % 20, more=1)
        + (b"%011o\0%011o\0" % (0, 0) * 21 + b"\1").ljust(512, b"\0") * 5000,
        "in more than the 100000 pieces",
    ),
    Case("an old size below zero", _old_sparse(b"", b"\xff" * 12) + END, "has size -1"),
)  # fmt: skip

SIZES = (
    Case("a negative size", make_header(b"f", size=b"\xff" * 11 + b"\0") + END, "has size -256"),
    Case("a size of 2**94", make_header(b"f", size=b"\x80" + b"\x7f" + b"\xff" * 10) + END, "has size"),
    Case("a size past the end", make_header(b"f", size=b"00000010000\0") + b"x" * 512,
         "3584 bytes before the end"),
    Case("a size of the largest octal", make_header(b"f", size=b"77777777777\0") + END,
         "more than the 67108864 bytes allowed"),
    Case("a size that is no number", make_header(b"f", size=b"0x10\0") + END, "is not an octal number"),
    Case("a size with a sign", make_header(b"f", size=b"-1\0") + END, "is not an octal number"),
    Case("a link with a size", make_header(b"l", b"2", b"00000001000\0", link=b"x")
         + make_member(b"f") + END, {"l": "-> x", "f": "file ''"}),
    Case("a directory with a size", make_header(b"d", b"5", b"00000001000\0")
         + make_member(b"f") + END, {"d": "dir mode 644", "f": "file ''"}),
    Case("a slash and a size", make_member(b"d/", make_member(b"smuggled")) + END,
         "is a directory with content"),
    Case("a wrong checksum", make_member(b"f").replace(b"0000644", b"0000645") + END,
         "checksum is wrong"),
    Case("no checksum", make_member(b"f")[:148] + b"zzzzzzzz" + make_member(b"f")[156:] + END,
         "a header without a checksum"),
    Case("not an archive", b"#!/bin/sh\n" * 500, "a header"),
    Case("cut off in a header", make_member(b"f", b"x" * 600) + make_header(b"g")[:300],
         "ends within a header"),
    Case("cut off in content", make_member(b"f", b"x" * 5000)[:2000], "before the end of an entry"),
    Case("cut off in padding", make_member(b"f", b"x" * 600)[:1200], "before the end of an entry"),
    Case("cut off in an extended header", make_pax({b"path": b"x" * 600})[:700],
         "ends within an extended header"),
    Case("cut off in a long name", make_member(b"L", b"x" * 600, b"L")[:700],
         "ends within an extended header"),
    Case("cut off after a header", make_member(b"f", b"x")[:512], "1 bytes before the end"),
    Case("no end", make_member(b"f"), {"f": "file ''"}),
    Case("one block of zeros and more", make_member(b"f") + bytes(512) + make_member(b"g"),
         {"f": "file ''"}),
    Case("two archives", make_member(b"f") + END + make_member(b"g") + END, {"f": "file ''"}),
    Case("nothing", b"", {}),
    Case("one byte", b"\0", "ends within a header"),
)  # fmt: skip

_DEVICE = {"major": b"0007777\0", "minor": b"3777777\0"}
KINDS = (
    Case("the largest device", make_member(b"c", kind=b"3", **_DEVICE) + END,
         {"c": "char 4095:1048575"}),
    Case("a device of 13 bits", make_member(b"c", kind=b"4", major=b"0010000\0") + END,
         "is device 4096:0"),
    Case("a negative device", make_member(b"c", kind=b"3", minor=b"\xff" * 8) + END, "is device 0:-1"),
    Case("a disk", [("block", "sda", (8, 0))], {"sda": "block 8:0"}),
    Case("contiguous", make_member(b"f", b"x", b"7") + END, {"f": "file 'x'"}),
    Case("a volume's label", make_member(b"V", kind=b"V") + make_member(b"f") + END, {"f": "file ''"}),
    Case("a multi-volume file", make_member(b"f", b"x", b"M") + END, "unknown type 'M'"),
    Case("a dumped directory", make_member(b"d", b"Yf\0\0", b"D") + END, "unknown type 'D'"),
    Case("a socket", make_member(b"s", kind=b"s") + END, "unknown type 's'"),
    Case("a type of no text", make_member(b"f", kind=b"\xff") + END, "unknown type"),
    Case("a link without target", make_member(b"l", kind=b"2") + END, "a target of 0 bytes"),
)  # fmt: skip

NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
NAMES = (
    Case("a file over a directory", [("dir", "a", None), ("file", "a/b", "x"), ("file", "a", "1")],
         {"a": "file '1'"}),
    Case("a directory over a file", [("file", "a", "1"), ("dir", "a", None)], {"a": DIR}),
    Case("a device over a file", [("file", "a", "1"), ("char", "a", (1, 3))], {"a": "char 1:3"}),
    Case("a link over a directory", [("dir", "a", None), ("symlink", "a", "b")], {"a": "-> b"}),
    Case("a file twice", [("file", "a", "1"), ("file", "a", "2")], {"a": "file '2'"}),
    Case("a file over a hard link", [("file", "a", "1"), ("link", "b", "a"), ("file", "b", "2")],
         {"a": "file '1'", "b": "file '2'"}),
    Case("a file as a parent", [("file", "a", "x"), ("file", "a/b", "x")], "is not a directory, but"),
    Case("a device as a parent", [("char", "a", (1, 3)), ("file", "a/b", "x")],
         "is not a directory, but"),
    Case("two normal forms", [("file", NFC, "1"), ("file", NFD, "2")],
         {NFC: "file '1'", NFD: "file '2'"}),
    Case("two cases", [("file", "a", "1"), ("file", "A", "2")], {"a": "file '1'", "A": "file '2'"}),
    Case("255 bytes", [("file", "n" * 255, "x")], {"n" * 255: "file 'x'"}),
    Case("256 bytes", [("file", "n" * 256, "x")], "has 256 bytes, 255 are allowed"),
    Case("256 bytes of a parent", [("file", "n" * 256 + "/x", "x")], "has 256 bytes"),
    Case("a path of 5100 bytes", [("file", "/".join(["n" * 254] * 20), "x")],
         {"/".join(["n" * 254] * depth): DIR for depth in range(1, 20)}
         | {"/".join(["n" * 254] * 20): "file 'x'"}),
    Case("a path of 70,000 bytes", [("file", "/".join(["n" * 99] * 700), "x")], "has 69999 bytes"),
    Case("a path of 2000 directories", [("dir", "d/" * 2000, None)], "2000 directories deep"),
)  # fmt: skip


ZEROS = 80
"""Megabytes of zeros in a bomb."""


@cache
def _zeros() -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        for _ in range(ZEROS):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def _many(count: int) -> Iterable[Item]:
    return (("file", f"d/{number}", "") for number in range(count))


PLAIN = make_tar([("file", "a", "x" * 3000)])
DONE = {"a": "file of 3000 bytes"}
BLOBS = (
    Case("zeros without end", lambda: gzip.compress(PLAIN) + _zeros(),
         "unpacks to more than the 67108864 bytes allowed"),
    Case("zeros in zstd", lambda: zstandard.compress(PLAIN + bytes(ZEROS << 20)),
         "unpacks to more than the 67108864 bytes allowed"),
    Case("a file of zeros",
         lambda: gzip.compress(make_header(b"f", size=b"%011o\0" % (ZEROS << 20))) + _zeros(),
         "more than the 67108864 bytes allowed"),
    Case("compressed twice", gzip.compress(gzip.compress(PLAIN)), "a header"),
    Case("many entries", lambda: make_tar(_many(1001)), "more than the 1000 entries allowed"),
    Case("garbage after gzip", gzip.compress(PLAIN) + b"garbage", "invalid gzip data"),
    Case("zeros after gzip", gzip.compress(PLAIN) + bytes(512), DONE),
    Case("two gzip members", gzip.compress(PLAIN[:1000]) + gzip.compress(PLAIN[1000:]), DONE),
    Case("an empty gzip member first", gzip.compress(b"") + gzip.compress(PLAIN), DONE),
    Case("gzip cut off", gzip.compress(PLAIN)[:-20], "invalid gzip data"),
    Case("gzip without its checksum", gzip.compress(PLAIN)[:-8], "invalid gzip data"),
    Case("gzip with a wrong checksum", gzip.compress(PLAIN)[:-8] + bytes(8), "invalid gzip data"),
    Case("gzip's first bytes alone", b"\x1f\x8b\x08", "invalid gzip data"),
    Case("zstd cut off", zstandard.compress(PLAIN)[:-5], "invalid zstd data"),
    Case("zstd with a frame to skip", struct.pack("<II", 0x184D2A5F, 4) + b"skip"
         + zstandard.compress(PLAIN), DONE),
    Case("a window of 2 GB", b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(64), "invalid zstd data"),
    Case("xz cut off", lzma.compress(PLAIN)[:-9], "invalid xz data"),
    Case("bzip2 cut off", bz2.compress(PLAIN)[:-9], "invalid bzip2 data"),
    Case("bzip2, named a tar", bz2.compress(PLAIN), DONE),
)  # fmt: skip

CASES: tuple[Case, ...] = (
    *CLIMBING, *LINKS, *ROOTS, *WHITEOUTS, *ATTRIBUTES, *DATES, *EXTENSIONS, *SPARSE, *SIZES,
    *KINDS, *NAMES, *BLOBS,
)  # fmt: skip
