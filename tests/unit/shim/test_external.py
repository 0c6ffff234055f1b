"""What another runtime is told: the engine's document in the specification's own words."""

from __future__ import annotations

import os

import pytest

from barque.models import oci
from barque.models.launch import ContainerLaunch, RootfsMount
from barque.runtime.users import Identity
from barque.shim.external import describe_failure, plain_document, translate
from barque.shim.protocol import Streams

IDENTITY = Identity(1000, 100, (100, 4), "/home/me")


def launch(**process: object) -> ContainerLaunch:
    return ContainerLaunch(
        spec=oci.Spec(
            process=oci.Process(args=["sh"], **process),  # type: ignore[arg-type]
            linux=oci.Linux(
                namespaces=[oci.Namespace(type="pid"), oci.Namespace(type="network")],
                resources=oci.Resources(devices=[oci.DeviceRule(allow=False)]),
            ),
        ),
        rootfs=RootfsMount(type="bind", source="/x", readonly=True),
    )


def test_a_document() -> None:
    spec = translate(launch(), IDENTITY, "/root", {"network": "/proc/1/fd/3"}, Streams())
    assert spec.root == oci.Root(path="/root", readonly=True)
    assert spec.process is not None
    assert spec.process.user == oci.User(uid=1000, gid=100, additional_gids=[4])
    assert spec.process.env == ["HOME=/home/me"]
    assert [(ns.type, ns.path) for ns in spec.linux.namespaces] == [
        ("pid", ""),
        ("network", "/proc/1/fd/3"),
    ]


def test_defaults_that_others_do_not_have_are_written() -> None:
    document = plain_document(translate(launch(), IDENTITY, "/root", {}, Streams()))
    assert document["process"]["cwd"] == "/"
    assert document["ociVersion"] == "1.0.2"
    (rule,) = document["linux"]["resources"]["devices"]
    assert rule == {"allow": False, "access": "rwm"}


def test_the_size_of_a_terminal() -> None:
    streams = Streams(tty=True, console_size=(40, 100))
    spec = translate(launch(terminal=True), IDENTITY, "/root", {}, streams)
    assert spec.process is not None
    assert spec.process.console_size == oci.Box(height=40, width=100)


def test_only_capabilities_that_we_have_are_asked_for() -> None:
    wanted = oci.Capabilities(bounding=["CAP_CHOWN", "CAP_OF_TOMORROW"])
    spec = translate(launch(capabilities=wanted), IDENTITY, "/root", {}, Streams())
    assert spec.process is not None
    assert spec.process.capabilities is not None
    expected = ["CAP_CHOWN"] if os.geteuid() == 0 else []
    assert spec.process.capabilities.bounding == expected


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (
            (
                "runc create failed: unable to start container process: "
                'exec: "x": executable file not found in $PATH'
            ),
            127,
            'exec: "x": executable file not found in $PATH',
        ),
        (
            "executable file `x` not found in $PATH: No such file or directory",
            127,
            (
                "executable file not found in $PATH: "
                "executable file `x` not found in $PATH: No such file or directory"
            ),
        ),
        (
            "open executable: Permission denied",
            126,
            "permission denied: open executable: Permission denied",
        ),
        ("mount `proc`: Operation not permitted", 128, "mount `proc`: Operation not permitted"),
        ("open `/a`: No such file or directory", 128, "open `/a`: No such file or directory"),
    ],
)
def test_failures_in_docker_s_words(said: str, code: int, words: str) -> None:
    failure = describe_failure(said)
    assert (failure.exit_code, failure.message) == (code, words)
