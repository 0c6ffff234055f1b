from __future__ import annotations

from typing import Any

import msgspec
import pytest

from barque.engine.merging import merge_image
from barque.errors import InvalidArgument
from barque.models.api import ContainerConfig
from barque.models.image import Healthcheck, ImageConfig, RootFS, RunConfig


def image(**config: Any) -> ImageConfig:
    return ImageConfig(
        architecture="amd64", os="linux", rootfs=RootFS(), config=RunConfig(**config)
    )


@pytest.mark.parametrize(
    ("user", "of_image", "command"),
    [
        ({}, {"cmd": ["sh"]}, ["sh"]),
        ({}, {"entrypoint": ["/e"], "cmd": ["a"]}, ["/e", "a"]),
        ({"cmd": ["b"]}, {"entrypoint": ["/e"], "cmd": ["a"]}, ["/e", "b"]),
        ({"cmd": "b c"}, {"cmd": ["a"]}, ["b c"]),
        ({"entrypoint": ["/x"]}, {"entrypoint": ["/e"], "cmd": ["a"]}, ["/x"]),
        ({"entrypoint": "/x", "cmd": ["b"]}, {"cmd": ["a"]}, ["/x", "b"]),
        ({"entrypoint": [""], "cmd": ["b"]}, {"entrypoint": ["/e"]}, ["b"]),
        ({"entrypoint": [], "cmd": ["b"]}, {"entrypoint": ["/e"]}, ["b"]),
        ({"entrypoint": []}, {"entrypoint": ["/e"], "cmd": ["a"]}, ["a"]),
        ({"cmd": []}, {"entrypoint": ["/e"], "cmd": ["a"]}, ["/e", "a"]),
    ],
)
def test_entrypoint_and_command(
    user: dict[str, Any], of_image: dict[str, Any], command: list[str]
) -> None:
    merged = merge_image(ContainerConfig(**user), image(**of_image))
    assert [merged.path, *merged.args] == command


@pytest.mark.parametrize("user", [{}, {"entrypoint": [""]}, {"cmd": []}])
def test_nothing_to_run(user: dict[str, Any]) -> None:
    for of in (image(), None):
        with pytest.raises(InvalidArgument, match=r"^no command specified$"):
            merge_image(ContainerConfig(**user), of)


def test_the_users_config_lies_over_the_images() -> None:
    of_image = image(
        user="app",
        working_dir="/srv",
        stop_signal="SIGINT",
        env=["A=1", "B=2"],
        labels={"x": "1", "y": "1"},
        exposed_ports={"80/tcp": {}},
        volumes={"/data": {}},
        healthcheck=Healthcheck(test=["CMD", "x"], retries=5),
    )
    config = ContainerConfig(
        cmd=["x"],
        working_dir="/home",
        env=["B=3", "C"],
        labels={"y": "2"},
        volumes={"/more": {}},
        healthcheck=Healthcheck(interval=10**9),
        image="demo:1",
    )
    before = msgspec.json.encode((config, of_image))
    merged = merge_image(config, of_image).config
    assert msgspec.json.encode((config, of_image)) == before
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("app", "/home", "SIGINT")
    assert merged.env == ["B=3", "C", "A=1"]
    assert merged.labels == {"x": "1", "y": "2"}
    assert merged.exposed_ports == {"80/tcp": {}}
    assert merged.volumes == {"/data": {}, "/more": {}}
    assert merged.healthcheck == Healthcheck(test=["CMD", "x"], retries=5, interval=10**9)
    assert merged.image == "demo:1"


# -- environment ---------------------------------------------------------------------------
