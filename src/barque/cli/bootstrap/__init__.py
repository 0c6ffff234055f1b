"""``bootstrap``: a first image without any registry.

``barque bootstrap busybox`` packs the distribution's static busybox; ``barque bootstrap
debian[:suite]`` installs a minimal Debian from the mirror that this machine's apt uses.
Both stream a tar archive to the engine (Engine API: ImageCreate with ``fromSrc=-``).
"""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.rows.references import split_tag
from barque.client.http import quote_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def create_image(
    call: Invocation, archive: Iterable[bytes], tags: list[str], command: str, message: str
) -> str:
    """An image from a root file system's tar archive, under all ``tags``; returns its id.

    ``command`` is the JSON list of the default command. Raises :class:`CommandError` or
    :class:`barque.client.errors.ClientError`.
    """
    first, *others = tags
    repository, tag = split_tag(first)
    query = {
        "fromSrc": "-",
        "repo": repository,
        "tag": tag or "latest",
        "message": message,
        "changes": [f"CMD {command}"],
    }
    image = ""
    with call.client.request("POST", "/images/create", query=query, data=archive) as answer:
        for event in answer.messages():
            if event.get("error"):
                raise CommandError(str(event["error"]))
            image = str(event.get("status") or image)
    for name in others:
        repository, tag = split_tag(name)
        call.client.post(
            f"/images/{quote_image(first)}/tag",
            query={"repo": repository, "tag": tag or "latest"},
        )
    return image


def _bootstrap(call: Invocation) -> int:
    name, _, suite = call.args[0].partition(":")
    tags: list[str] = call.flags["tag"]
    if name == "busybox" and not suite:
        from barque.cli.bootstrap.busybox import pack_rootfs  # noqa: PLC0415 - one of two

        tags = tags or ["busybox:latest"]
        image = create_image(call, pack_rootfs(), tags, '["sh"]', "busybox of this machine")
    elif name == "debian":
        from barque.cli.bootstrap.debian import Debian  # noqa: PLC0415 - one of two

        debian = Debian(suite, call.flags["mirror"])
        tags = tags or [f"debian:{debian.suite}", "debian:latest"]
        image = create_image(
            call, debian.archive(), tags, '["bash"]', f"Debian {debian.suite} from {debian.mirror}"
        )
    else:
        raise CommandError(
            f"there is no recipe for {call.args[0]}: choose busybox, debian or debian:SUITE"
        )
    sys.stdout.write(f"{image}\n" + "".join(f"Created image: {tag}\n" for tag in tags))
    return 0


BOOTSTRAP = Command(
    "[OPTIONS] busybox|debian[:SUITE]",
    _bootstrap,
    minimum=1,
    maximum=1,
    description=(
        "Make a base image: busybox from this machine's busybox-static, or a minimal Debian "
        "from the mirror that this machine's apt uses"
    ),
    flags=(
        Flag("mirror", "string", "Debian mirror to use instead of the machine's"),
        Flag("tag", "list", "Name and optionally a tag of the image", short="t"),
    ),
)
