"""Images as archives: save."""

from __future__ import annotations

from barque.api.container_files import send_archive
from barque.api.contracts import Engine
from barque.api.http import Call, Response
from barque.api.parameters import parse_platform_object
from barque.errors import InvalidArgument

_ARCHIVE = "application/x-tar"


class ImageArchives:
    """Operations that give images as archives."""

    def __init__(self, engine: Engine) -> None:
        self._images = engine.images

    async def get(self, call: Call) -> Response:
        """Send an archive of one image."""
        return await self._send(call, [call.name])

    async def get_all(self, call: Call) -> Response:
        """Send one archive of the images ``names``."""
        names = call.texts("names")
        if not names:
            raise InvalidArgument("names is required: say which images are to be saved")
        return await self._send(call, names)

    async def _send(self, call: Call, names: list[str]) -> Response:
        platform = parse_platform_object(call.text("platform"))
        return await send_archive(call, self._images.save(names, platform=platform), _ARCHIVE)
