"""JSON documents of images and registries, with something wrong in them: drawn by hypothesis."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from barque.models.image import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)
from support.images import Item, digest, make_tar

LAYER = make_tar([("file", "a", "x")])
DEPTHS = (3, 200, 5000, 100_000)
"""Of brackets: some are deeper than a parser's stack."""

_texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        (
            *("", " ", "\ud800", "\0", "../../etc/passwd", "/", "a" * 5000, "latest", "sha256:"),
            *("sha256:" + "0" * 64, "sha256:" + "A" * 64, "sha512:" + "0" * 128, "md5:x"),
            *("linux", "windows", "amd64", "arm64", "unknown", "layers", "layer"),
            *(OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST, OCI_LAYER, OCI_CONFIG),
            *("application/vnd.docker.distribution.manifest.v1+prettyjws", "text/html"),
            *("2024-05-06T07:08:09Z", "yesterday", "2024-99-99T00:00:00Z", "9999-12-31T23:59:59Z"),
            *("0000-00-00T00:00:00Z", "2024-05-06T07:08:09+99:99", "sha256:abcd", "UPPER:case"),
            *("docker.io/library/alpine@sha256:" + "1" * 64, "a:b:c", "host:99999/x:y", ":"),
        )
    ),
)
_numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from((1 << 31, 1 << 53, 1 << 63, -(1 << 63), 1 << 64, 1 << 200, 0.5, 1e300)),
)
_scalars = st.one_of(st.none(), st.booleans(), _numbers, _texts)
values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_texts, inner, max_size=3)
    ),
    max_leaves=6,
)


def _list_places(document: Any) -> list[tuple[Any, Any]]:
    """Return all (container, key) in a document."""
    places: list[tuple[Any, Any]] = []
    pending = [document]
    for value in pending:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        places += [(value, key) for key in keys]
        pending += [value[key] for key in keys if isinstance(value[key], dict | list)]
    return places


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> bytes:
    """Draw ``document`` as text, with a few of its values replaced or something broken."""
    document = copy.deepcopy(document)
    if draw(st.booleans()):
        return json.dumps(document).encode()
    for _ in range(draw(st.integers(0, 3))):
        places = _list_places(document)
        if not places:
            break
        container, key = draw(st.sampled_from(range(len(places))).map(places.__getitem__))
        match draw(st.integers(0, 4)):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[draw(st.sampled_from(_KEYS))] = draw(values)
            case 2 if isinstance(container, list):
                container *= draw(st.sampled_from((2, 130, 3000)))
            case _:
                container[key] = draw(values)
    text = json.dumps(document)
    match draw(st.integers(0, 9)):
        case 0:
            depth = draw(st.sampled_from(DEPTHS))
            key = draw(st.sampled_from(_KEYS))
            opening, closing = draw(st.sampled_from((("[", "]"), ('{"a":', "}"))))
            deep = opening * depth + "1" + closing * depth
            text = text.replace("{", f'{{"{key}": {deep}, ', 1)
        case 1:
            key = draw(st.sampled_from(_KEYS))
            text = text.replace("{", f'{{"{key}": {json.dumps(draw(values))}, ', 1)
        case 2:
            text = text[: draw(st.integers(0, len(text)))]
        case 3:
            cut = draw(st.integers(0, len(text)))
            odd = draw(
                st.sampled_from((b"\xff", b"NaN", b"1e999", b"\0", b"]", b'"\\ud800"', b","))
            )
            return text[:cut].encode() + odd + text[cut:].encode()
        case _:
            pass
    return text.encode()


_KEYS = (
    *("schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers", "annotations"),
    *("rootfs", "history", "created", "architecture", "os", "Config", "RepoTags", "Layers"),
    *("Healthcheck", "Env", "Labels", "platform", "size", "digest", "urls", "x", "errors", "tags"),
)


def _describe(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content), **more}


def _config() -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-06T07:08:09.123456789Z",
        "config": {
            "Env": ["PATH=/bin"],
            "Cmd": ["sh"],
            "Labels": {"a": "b"},
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/v": {}},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(LAYER)]},
        "history": [{"created": "2024-05-06T07:08:09Z", "created_by": "step"}],
    }


Served = dict[str, tuple[bytes, str]]
"""Documents and blobs by name, with their types."""


@st.composite
def images(draw: st.DrawFn) -> tuple[Served, bytes, str]:
    """Draw an image's blobs by digest, and what its name stands for, with its type."""
    blobs: Served = {digest(LAYER): (LAYER, OCI_LAYER)}
    config = draw(mutated(_config()))
    blobs[digest(config)] = config, OCI_CONFIG
    manifest = draw(
        mutated(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": _describe(config, OCI_CONFIG),
                "layers": [_describe(LAYER, OCI_LAYER)],
            }
        )
    )
    blobs[digest(manifest)] = manifest, OCI_MANIFEST
    if draw(st.booleans()):
        return blobs, manifest, OCI_MANIFEST
    platform = {"os": "linux", "architecture": "amd64"}
    index = draw(
        mutated(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [_describe(manifest, OCI_MANIFEST, platform=platform)],
            }
        )
    )
    blobs[digest(index)] = index, OCI_INDEX
    return blobs, index, OCI_INDEX


@st.composite
def layouts(draw: st.DrawFn) -> bytes:
    """Draw an archive in OCI's layout, docker's format, or both."""
    blobs, top, media_type = draw(images())
    items: list[Item] = [
        ("file", f"blobs/sha256/{name.removeprefix('sha256:')}", content)
        for name, (content, _) in blobs.items()
    ]
    kind = draw(st.integers(0, 2))
    if kind != 1:
        name = {"io.containerd.image.name": "docker.io/library/it:latest"}
        index = {"schemaVersion": 2, "manifests": [_describe(top, media_type, annotations=name)]}
        items.append(("file", "index.json", draw(mutated(index))))
        items.append(("file", "oci-layout", draw(mutated({"imageLayoutVersion": "1.0.0"}))))
    if kind != 0:
        config = next(key for key, (_, media) in blobs.items() if media == OCI_CONFIG)
        manifest = [
            {
                "Config": f"blobs/sha256/{config.removeprefix('sha256:')}",
                "RepoTags": ["it:latest"],
                "Layers": [f"blobs/sha256/{digest(LAYER).removeprefix('sha256:')}"],
            }
        ]
        items.append(("file", "manifest.json", draw(mutated(manifest))))
        items.append(("file", "repositories", draw(mutated({"it": {"latest": "0" * 64}}))))
    return make_tar(items)


answers = st.one_of(
    mutated({"errors": [{"code": "DENIED", "message": "no", "detail": {"a": 1}}]}),
    mutated({"tags": ["a", "b"], "name": "it"}),
    mutated({"repositories": ["a"]}),
    mutated({"token": "abc", "expires_in": 300, "refresh_token": "x"}),
    mutated({"results": [{"name": "a", "star_count": 1}]}),
)
