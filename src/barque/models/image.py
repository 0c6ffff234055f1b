"""OCI image-spec 1.1 documents and the docker schema 2 names for the same shapes.

Source: opencontainers/image-spec (descriptor, manifest, image-index, config).
The bytes of a stored document are never re-serialised: these types read them.
"""

from __future__ import annotations

from typing import Any

import msgspec

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class Platform(msgspec.Struct, omit_defaults=True):
    """What a manifest was built for. ``architecture`` and ``os`` are Go's names."""

    architecture: str = ""
    os: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: list[str] | None = msgspec.field(default=None, name="os.features")
    variant: str = ""


class Descriptor(msgspec.Struct, rename="camel", omit_defaults=True):
    """A pointer to content: type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str | None = None


class Manifest(msgspec.Struct, rename="camel", omit_defaults=True):
    """An image manifest: one config and its layers, base layer first."""

    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = OCI_MANIFEST
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, rename="camel", omit_defaults=True):
    """An image index (docker: manifest list)."""

    schema_version: int
    manifests: list[Descriptor]
    media_type: str = OCI_INDEX
    annotations: dict[str, str] | None = None


class Healthcheck(msgspec.Struct, rename="pascal", omit_defaults=True):
    """A health probe. Times in nanoseconds; 0 inherits."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    """The ``config`` object of an image config: what a container of it runs by default."""

    user: str = ""
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None


class RootFS(msgspec.Struct):
    """Diff IDs of the layers, base layer first."""

    type: str = "layers"
    diff_ids: list[str] = msgspec.field(default_factory=list)


class HistoryEntry(msgspec.Struct, omit_defaults=True):
    """One step of how the image came to be; ``empty_layer`` if it has no layer."""

    created: str | None = None
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, omit_defaults=True):
    """The image config document. Its digest is the image ID."""

    architecture: str
    os: str
    rootfs: RootFS
    config: RunConfig = msgspec.field(default_factory=RunConfig)
    created: str | None = None
    author: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    history: list[HistoryEntry] | None = None
