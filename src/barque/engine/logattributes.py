"""What each log entry carries beside its text: chosen labels and variables, and a tag.

Source: Docker's log options ``labels``, ``labels-regex``, ``env``, ``env-regex``, ``tag``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from barque.errors import InvalidArgument
from barque.models.container import ContainerRecord

_FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


def get_log_attributes(record: ContainerRecord) -> dict[str, str]:
    """Return the attributes of the container's entries. Raises InvalidArgument."""
    options = record.host_config.log_config.config or {}
    variables = dict(entry.split("=", 1) for entry in record.config.env or () if "=" in entry)
    attributes = _choose(record.config.labels or {}, options, "labels")
    attributes |= _choose(variables, options, "env")
    if tag := options.get("tag"):
        attributes["tag"] = _render(tag, record)
    return attributes


def _choose(values: Mapping[str, str], options: Mapping[str, str], kind: str) -> dict[str, str]:
    chosen = {key: values[key] for key in options.get(kind, "").split(",") if key in values}
    if pattern := options.get(f"{kind}-regex"):
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise InvalidArgument(f"log option {kind}-regex: {pattern!r}: {error}") from None
        chosen |= {key: value for key, value in values.items() if expression.search(key)}
    return chosen


def _render(template: str, record: ContainerRecord) -> str:
    fields = {
        "ID": record.id[:12],
        "FullID": record.id,
        "Name": record.name,
        "ImageID": record.image_id.removeprefix("sha256:")[:12],
        "ImageFullID": record.image_id,
        "ImageName": record.config.image,
        "DaemonName": "barque",
        "Command": " ".join([record.path, *record.args]),
    }
    unknown = [name for name in _FIELD.findall(template) if name not in fields]
    if unknown or "{{" in _FIELD.sub("", template):
        known = ", ".join(f"{{{{.{name}}}}}" for name in fields)
        raise InvalidArgument(f"log option tag: {template!r} may hold {known} only")
    return _FIELD.sub(lambda match: fields[match[1]], template)
