"""Compiled system call filters, kept beside the containers' state: ``ROOT/@seccomp/HASH.bpf``.

Compiling docker's profile takes longer than all else that a create does, and engines give the same
one to every container, and to every process that is exec'ed. What is kept is found by the hash of
everything that goes into it; whoever may write there is the runtime's own user, or it is not read.
"""

from __future__ import annotations

import os
import stat
from _blake2 import blake2b

import msgspec

from barque.models import oci
from barque.runtime.seccomp import COMPILER, compile_filter, libseccomp_version, use_compiled

_DIRECTORY = "@seccomp"  # no container can be called that
_MOST = 64
"""Filters that are kept. Who gives each container a profile of its own gains nothing by them."""


def prepare_filter(root: str, profile: oci.Seccomp | None) -> None:
    """Have the filter of ``profile`` ready in this process and those that it forks.

    ``root`` is the directory of the containers' state. Raises as ``compile_filter``; that nothing
    can be kept is no failure.
    """
    if profile is None:
        return
    ingredients = (COMPILER, libseccomp_version(), os.uname().machine)
    key = "\0".join(ingredients).encode() + b"\0" + msgspec.json.encode(profile)
    path = f"{root}/{_DIRECTORY}/{blake2b(key, digest_size=32).hexdigest()}.bpf"
    code = _read(path)
    if not code:
        code = compile_filter(profile)
        _keep(path, code)
    use_compiled(profile, code)


def _read(path: str) -> bytes:
    """What is kept at ``path``; nothing where there is none, or others might have written it."""
    try:
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        if not _is_ours(os.fstat(directory)):
            return b""
        fd = os.open(os.path.basename(path), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        return b""
    finally:
        os.close(directory)
    with open(fd, "rb", buffering=0) as file:
        info = os.fstat(fd)
        return file.read() if _is_ours(info) and stat.S_ISREG(info.st_mode) else b""


def _is_ours(info: os.stat_result) -> bool:
    return info.st_uid == os.geteuid() and not info.st_mode & 0o022


def _keep(path: str, code: bytes) -> None:
    """Keep ``code``, whole or not at all; a full or read-only disk costs time only."""
    directory = os.path.dirname(path)
    partial = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(directory), 0o711, exist_ok=True)
        os.makedirs(directory, 0o700, exist_ok=True)
        kept = os.listdir(directory)
        if len(kept) >= _MOST:
            for name in kept:
                os.unlink(f"{directory}/{name}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(code)
        os.rename(partial, path)
    except OSError:
        return
