"""Archives that attack whoever unpacks them, as data."""

from __future__ import annotations

from support.images import END, Item, make_header, make_member, make_pax, make_tar

UP = "../" * 12


def plant(target: str, *after: Item) -> list[Item]:
    """Plant a link to ``target``, then do something through it."""
    return [("symlink", "trap", target), *after]


def climbing(outside: str) -> dict[str, list[Item]]:
    """Return attacks that write, given the absolute path of the sanctuary."""
    secret = f"{outside}/secret"
    relative = UP + outside.lstrip("/")
    return {
        "absolute name": [("file", secret, "pwned")],
        "name with dots": [("file", UP + secret.lstrip("/"), "pwned")],
        "dots within": [("dir", "a", None), ("file", f"a/b/{UP}{secret.lstrip('/')}", "pwned")],
        "double slash": [("file", f"//{secret}", "pwned")],
        "absolute directory": [("dir", outside, None)],
        "through an absolute link": plant(outside, ("file", "trap/secret", "pwned")),
        "through a relative link": plant(relative, ("file", "trap/secret", "pwned")),
        "through a link to /": plant("/", ("file", f"trap{secret}", "pwned")),
        "through a link to ..": plant("..", ("file", "trap/outside/secret", "pwned")),
        "through a chain of links": [
            ("symlink", "a", ".."),
            ("symlink", "b", "a/.."),
            ("symlink", "c", "b/.."),
            ("file", "c/outside/secret", "pwned"),
        ],
        "over a link to a file": plant(secret, ("file", "trap", "pwned")),
        "over a dangling link": plant(f"{outside}/new", ("file", "trap", "pwned")),
        "a directory over a link": plant(outside, ("dir", "trap", None), ("file", "trap/new", "x")),
        "new file through a link": plant(outside, ("file", "trap/new", "pwned")),
        "new directories through a link": plant(outside, ("dir", "trap/d/e", None)),
        "device through a link": plant(outside, ("char", "trap/null", (1, 3))),
        "fifo through a link": plant(outside, ("fifo", "trap/fifo", None)),
        "link through a link": plant(outside, ("symlink", "trap/new", "/etc")),
        "hard link to outside": [("link", "hard", secret), ("file", "hard", "pwned")],
        "hard link with dots": [("link", "hard", UP + secret.lstrip("/"))],
        "hard link through a link": plant(outside, ("link", "hard", "trap/secret")),
        "hard link to a planted link": plant(
            secret, ("link", "hard", "trap"), ("file", "hard", "pwned")
        ),
        "hard link made outside": [("file", "f", "pwned"), ("link", f"{outside}/new", "f")],
        "hard link made through a link": plant(
            outside, ("file", "f", "pwned"), ("link", "trap/new", "f")
        ),
        "whiteout outside": [("file", f"{outside}/.wh.secret", "")],
        "whiteout with dots": [("file", f"{relative}/.wh.secret", "")],
        "whiteout through a link": plant(outside, ("file", "trap/.wh.secret", "")),
        "whiteout of dots": [("file", "a/.wh...", "")],
        "whiteout of the directory": [("file", "a/.wh..", "")],
        "whiteout of a link": plant(outside, ("file", ".wh.trap", "")),
        "opaque outside": [("file", f"{outside}/.wh..wh..opq", "")],
        "opaque through a link": plant(outside, ("file", "trap/.wh..wh..opq", "")),
        "opaque through dots": plant("..", ("file", "trap/outside/.wh..wh..opq", "")),
        "root as a link": [("symlink", ".", outside), ("file", "secret", "pwned")],
        "root as a link, named by dots": [("symlink", "..", outside), ("file", "secret", "x")],
        "root as a file": [("file", "/", "pwned")],
        "directory replaced by a link": [
            ("dir", "d", None),
            ("file", "d/x", "1"),
            ("symlink", "d", outside),
            ("file", "d/secret", "pwned"),
        ],
        "link replaced by a directory": plant(
            outside,
            ("dir", "trap", None),
            ("symlink", "trap", outside),
            ("file", "trap/secret", "pwned"),
            ("dir", "trap", None),
            ("file", "trap/secret", "pwned"),
        ),
        "file replaced by a link and back": [
            ("file", "f", "1"),
            ("symlink", "f", secret),
            ("file", "f", "pwned"),
        ],
        "dates of a link": plant(outside, ("dir", "trap/.", None)),
        "proc": plant("/proc/self/root", ("file", f"trap{secret}", "pwned")),
        "proc descriptor": plant("/proc/self/fd/3", ("file", "trap/../outside/secret", "pwned")),
        "proc working directory": plant("/proc/self/cwd", ("file", "trap/secret", "pwned")),
        "links in a circle": [("symlink", "a", "b"), ("symlink", "b", "a"), ("file", "a/x", "x")],
        "links without end": [("symlink", "a", "a/a"), ("file", "a/x", "x")],
    }


def damaged() -> dict[str, bytes]:
    """Return archives that are wrong, or ask for too much."""
    return {
        "negative size": make_header(b"f", size=(-512).to_bytes(12, "big", signed=True)) + END,
        "huge size": make_header(b"f", size=b"\x80" + b"\x7f" + b"\xff" * 10) + END,
        "zero length extended header": make_member(b"x", b"", b"x") + make_member(b"f") + END,
        "record of length zero": make_member(b"x", b"0 a=b\n", b"x") + make_member(b"f") + END,
        "record without space": make_member(b"x", b"9" * 30 + b"\n", b"x") + make_member(b"f"),
        "huge extended header": make_header(b"x", b"x", b"77777777777\0") + END,
        "huge long name": make_header(b"x", b"L", b"77777777777\0") + END,
        "endless extended headers": make_member(b"x", b"", b"x") * 6000,
        "NUL in a name": make_pax({b"path": b"ok\0/../../outside/secret"})
        + make_member(b"f")
        + END,
        "NUL in a link": make_pax({b"linkpath": b"a\0b"}) + make_member(b"l", kind=b"2") + END,
        "name by an extended header": make_pax({b"path": b"/" * 5000}) + make_member(b"f") + END,
        "deep": make_pax({b"path": b"d/" * 2000}) + make_member(b"d", kind=b"5") + END,
        "long component": make_pax({b"path": b"d" * 300}) + make_member(b"f") + END,
        "many entries": make_tar([("file", f"f{n}", "") for n in range(5001)]),
        "large file in a sparse one": make_pax(
            {b"GNU.sparse.map": b"0,1", b"GNU.sparse.size": b"9" * 18}
        )
        + make_member(b"f", b"x")
        + END,
        "sparse pieces backwards": make_pax(
            {b"GNU.sparse.map": b"10,5,0,5", b"GNU.sparse.size": b"20"}
        )
        + make_member(b"f", b"x" * 10)
        + END,
        "sparse name outside": make_pax(
            {
                b"GNU.sparse.map": b"0,1",
                b"GNU.sparse.size": b"1",
                b"GNU.sparse.name": b"../../outside/secret",
            }
        )
        + make_member(b"f", b"x")
        + END,
        "overlay redirect": make_pax({b"SCHILY.xattr.trusted.overlay.redirect": b"/../.."})
        + make_member(b"d", kind=b"5")
        + END,
        "impossible attribute": make_pax({b"SCHILY.xattr.security.capability": b"x"})
        + make_member(b"f")
        + END,
        "attribute without a name": make_pax({b"SCHILY.xattr.": b"x"}) + make_member(b"f") + END,
        "huge attribute": make_pax({b"SCHILY.xattr.user.a": b"x" * 900_000})
        + make_member(b"f")
        + END,
        "empty link": make_member(b"l", kind=b"2") + END,
        "owner minus one": make_pax({b"uid": b"4294967295"}) + make_member(b"f") + END,
        "absurd date": make_pax({b"mtime": b"9" * 20}) + make_member(b"f") + END,
        "unknown type": make_member(b"f", kind=b"\xff") + END,
        "cut off": make_member(b"f", b"x" * 5000)[:2000],
        "not an archive": b"#!/bin/sh\n" * 500,
        "bytes that are no text": make_member(b"\xff\xfe\x80", b"x") + END,
    }
