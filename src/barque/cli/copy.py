"""``cp``: a tar stream from a container to stdout, or from stdin into one.

Files and directories of this machine as source or target are not copied yet.
"""

from __future__ import annotations

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.client.http import quote_segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_STREAM = "-"


def split_path(text: str) -> tuple[str, str]:
    """Container and path of ``CONTAINER:PATH``; container "" for a path here.

    A leading ``/`` or ``.`` makes it local, and so does the absence of a colon.
    """
    container, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return "", text
    return container, path


def _cp(call: Invocation) -> int:
    source, target = call.args
    from_container, from_path = split_path(source)
    to_container, to_path = split_path(target)
    if from_container and to_container:
        raise CommandError("copying between containers is not supported")
    if from_container:
        _check_stream(to_path)
        return _download(call, from_container, from_path)
    if to_container:
        _check_stream(from_path)
        return _upload(call, to_container, to_path)
    raise CommandError("must specify at least one container source")


def _check_stream(path: str) -> None:
    if path != _STREAM:
        raise CommandError(
            f"barque cp copies tar streams only: write '-' instead of {path!r} "
            "(barque cp CONTAINER:PATH - | tar -x, tar -c FILES | barque cp - CONTAINER:PATH)"
        )


def _download(call: Invocation, container: str, path: str) -> int:
    from barque.cli.output import open_output  # noqa: PLC0415 - completion imports us

    answer = call.client.request(
        "GET", f"/containers/{quote_segment(container)}/archive", query={"path": path}
    )
    with (
        answer,
        open_output(
            "",
            refusal="refusing to write a tar archive to a terminal: redirect the output",
            failure="",
        ) as out,
    ):
        for data in answer.chunks():
            out.write(data)
    return 0


def _upload(call: Invocation, container: str, path: str) -> int:
    call.client.request(
        "PUT",
        f"/containers/{quote_segment(container)}/archive",
        query={
            "path": path,
            "noOverwriteDirNonDir": True,
            "copyUIDGID": call.flags["archive"] or None,
        },
        data=_standard_input(),
    ).read()
    return 0


def _standard_input() -> Iterator[bytes]:
    import os  # noqa: PLC0415 - completion imports us

    while data := os.read(0, 1 << 18):
        yield data


CP = Command(
    "[OPTIONS] CONTAINER:SRC_PATH -\ncp [OPTIONS] - CONTAINER:DEST_PATH",
    _cp,
    minimum=2,
    maximum=2,
    description=(
        "Copy files/folders between a container and the local filesystem\n\n"
        "Use '-' as the source to read a tar archive from stdin\n"
        "and extract it to a directory destination in a container.\n"
        "Use '-' as the destination to stream a tar archive of a\n"
        "container source to stdout."
    ),
    flags=(
        Flag("archive", "bool", "Archive mode (copy all uid/gid information)", short="a"),
        Flag("follow-link", "bool", "Always follow symbol link in SRC_PATH", short="L"),
        Flag("quiet", "bool", "Suppress progress output during copy", short="q"),
    ),
)
