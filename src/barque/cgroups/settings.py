"""Limits as data: which value goes into which control file, and the one executor.

``v1_plan`` and ``v2_plan`` turn OCI resources into settings; ``carry_out`` writes them.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import NamedTuple

from barque.cgroups.files import read, write
from barque.errors import FailedPrecondition, KernelError


class Setting(NamedTuple):
    """One write to one control file. ``option`` is docker's flag, for errors.

    ``device`` (``8:0``, an interface's name) is the beginning of the line that is set, in files
    with one line a device; ``reset`` is then what sets it back. A setting that ``may_wait`` is
    tried again after the next one, where two limits bound each other and the right order depends
    on what they are now. What is ``optional`` is left out where the kernel lacks the file.
    """

    controller: str
    file: str
    value: str
    option: str
    device: str = ""
    reset: str = ""
    may_wait: bool = False
    optional: bool = False


class _Undo(NamedTuple):
    directory: str
    file: str
    value: str


def carry_out(
    settings: Sequence[Setting], directory: Callable[[str], str], *, undo: bool = False
) -> None:
    """Write ``settings`` in order; ``directory`` gives a controller's directory.

    With ``undo`` what was there is put back if one of them fails. Raises FailedPrecondition
    where a file is missing, KernelError where the kernel refuses the value; both name the option.
    """
    done: list[_Undo] = []
    waiting: Setting | None = None
    try:
        for setting in settings:
            where = directory(setting.controller)
            try:
                _write(where, setting, done if undo else None)
            except KernelError as error:
                if not setting.may_wait or error.errno != errno.EINVAL:
                    raise
                waiting = setting
                continue
            if waiting is not None:
                _write(directory(waiting.controller), waiting, done if undo else None)
                waiting = None
    except BaseException:
        for step in reversed(done):
            write(step.directory, step.file, step.value)
        raise


def _write(directory: str, setting: Setting, done: list[_Undo] | None) -> None:
    try:
        before = read(directory, setting.file) if done is not None else ""
        write(directory, setting.file, setting.value)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            if setting.optional:
                return
            raise FailedPrecondition(
                f"{setting.option} {setting.value}: this kernel has no {setting.file}, or the "
                f"controller {setting.controller} is not available to barque here: drop the "
                f"limit, or enable the controller"
            ) from None
        hint = f"{setting.option}: {_REASONS.get(error.errno, 'the kernel refused this limit')}"
        raise KernelError(error.syscall, error.errno, error.path, hint) from None
    if done is not None:
        done.append(_Undo(directory, setting.file, previous(setting, before)))


_REASONS = {
    errno.EBUSY: "more than this is in use now, or a group inside has more",
    errno.EINVAL: "the kernel does not take this value, or not beside the other limits",
    errno.ERANGE: "the value is out of the kernel's range",
    errno.ENODEV: "there is no such device, or it takes no such limit",
    errno.EOPNOTSUPP: "this device or kernel does not support it",
    errno.EACCES: "a group above has less",
}


def previous(setting: Setting, text: str) -> str:
    """What to write to have back what ``text``, the file before, said."""
    if setting.file == "memory.oom_control":
        return dict(line.split() for line in text.splitlines())["oom_kill_disable"]
    if not setting.device:
        return text
    for line in text.splitlines():
        if line.split(" ", 1)[0] == setting.device:
            return line
    return setting.reset
