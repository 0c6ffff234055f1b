"""What an image made of a container runs."""

from __future__ import annotations

import pytest

from barque.engine.committing import check_message, make_run_config
from barque.errors import InvalidArgument
from barque.models.api import ContainerConfig

OWN = ContainerConfig(
    user="u",
    env=["A=1", "B=2"],
    cmd=["sh"],
    entrypoint=["/entry"],
    labels={"a": "1"},
    working_dir="/w",
    exposed_ports={"80/tcp": {}},
    volumes={"/v": {}},
    stop_signal="SIGINT",
)


def test_all_is_the_containers_where_nothing_is_asked_for() -> None:
    config = make_run_config(OWN, None, [])
    assert (config.user, config.env, config.cmd) == ("u", ["A=1", "B=2"], ["sh"])
    assert (config.entrypoint, config.working_dir) == (["/entry"], "/w")
    assert (config.labels, config.volumes) == ({"a": "1"}, {"/v": {}})


def test_instructions_win() -> None:
    config = make_run_config(
        OWN,
        None,
        ["ENV B=3 C=4", 'CMD ["x"]', "LABEL b=2", "EXPOSE 81", "USER root", "WORKDIR sub"],
    )
    assert config.env == ["A=1", "B=3", "C=4"]
    assert (config.cmd, config.user, config.working_dir) == (["x"], "root", "/w/sub")
    assert config.labels == {"a": "1", "b": "2"}
    assert config.exposed_ports == {"80/tcp": {}, "81/tcp": {}}


def test_a_given_config_comes_first_and_is_filled_up() -> None:
    given = ContainerConfig(cmd=["own"], env=["B=9"], labels={"a": "other"})
    config = make_run_config(OWN, given, ["ENV C=1"])
    assert config.env == ["B=9", "C=1", "A=1"]
    assert (config.cmd, config.entrypoint, config.user) == (["own"], ["/entry"], "u")
    assert config.labels == {"a": "other"}


def test_an_entrypoint_of_its_own_takes_no_command() -> None:
    config = make_run_config(OWN, ContainerConfig(entrypoint=["/other"]), [])
    assert (config.entrypoint, config.cmd) == (["/other"], None)


def test_bad_instructions_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="RUN is not a valid change command"):
        make_run_config(OWN, None, ["RUN x"])


def test_nothing_to_say_is_not_said() -> None:
    config = make_run_config(ContainerConfig(), None, [])
    assert (config.env, config.exposed_ports, config.volumes) == (None, None, None)


def test_long_messages_are_refused() -> None:
    check_message("a", "b")
    with pytest.raises(InvalidArgument, match="the comment is longer"):
        check_message("a", "b" * 100_000)
