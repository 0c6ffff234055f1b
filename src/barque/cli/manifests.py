"""``manifest inspect``: what a registry has under a name, without pulling it.

The engine asks (``GET /barque/manifests/{name}/json``): it knows registries, and the settings
for them. What is printed is docker's, except that failures other than a missing manifest keep
their own text.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.pull import canonical, registry_headers
from barque.cli.rows.references import split_tag
from barque.client.errors import ApiError
from barque.client.http import quote_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_NOT_FOUND = 404


def _inspect(call: Invocation) -> int:
    reference = call.args[-1]
    if "@" not in reference and not split_tag(reference)[1]:
        reference += ":latest"
    try:
        answer = call.client.request(
            "GET",
            f"/barque/manifests/{quote_image(reference)}/json",
            headers=registry_headers(call.settings.config, reference),
            query={"insecure": call.flags["insecure"] or None},
        )
        found = answer.json()
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        raise CommandError(f"no such manifest: {canonical(reference)}") from error
    sys.stdout.write(_render(found, verbose=call.flags["verbose"]))
    return 0


def _render(found: dict[str, Any], *, verbose: bool) -> str:
    entries = found["Manifests"]
    if verbose:
        shown = [_describe(entry) for entry in entries]
        return _indent(shown if found["IsIndex"] else shown[0])
    if not found["IsIndex"]:
        return _indent(json.loads(b64decode(entries[0]["Raw"])))
    descriptors = [
        {
            key: entry["Descriptor"][key]
            for key in ("mediaType", "size", "digest", "platform")
            if key in entry["Descriptor"]
        }
        for entry in entries
    ]
    only_oci = all(each["mediaType"] == _OCI_MANIFEST for each in descriptors)
    index = {
        "schemaVersion": 2,
        "mediaType": _OCI_INDEX if only_oci else _DOCKER_LIST,
        "manifests": descriptors,
    }
    return _indent(index, "   ")


def _describe(entry: dict[str, Any]) -> dict[str, Any]:
    kind = entry["Descriptor"]["mediaType"]
    name = "OCIManifest" if kind == _OCI_MANIFEST else "SchemaV2Manifest"
    return {**entry, name: json.loads(b64decode(entry["Raw"]))}


def _indent(value: Any, by: str = "\t") -> str:
    return json.dumps(value, indent=by, ensure_ascii=False) + "\n"


INSPECT = Command(
    "[OPTIONS] MANIFEST",
    _inspect,
    minimum=1,
    maximum=1,
    flags=(
        Flag("insecure", "bool", "Allow communication with an insecure registry"),
        Flag("verbose", "bool", "Output additional info including layers and platform", short="v"),
    ),
)
