"""Options and arguments, read as pflag reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.cli.command import Flag
from barque.cli.container_body import parse_restart_policy
from barque.cli.container_flags import CREATE_FLAGS, RUN_FLAGS
from barque.cli.parser import HelpWanted, Parsed, UsageError, parse
from barque.cli.ports import parse_expose, parse_publish
from barque.cli.rare_values import parse_gpus, parse_mount, parse_network, parse_ulimit
from barque.cli.registry import COMMANDS, GROUPS, find_command, find_path, names_of
from barque.cli.values import KINDS, parse_decimal, parse_int, split_csv
from barque.errors import BarqueError, InvalidArgument

FLAGS = (
    Flag("all", "bool", "", short="a"),
    Flag("interactive", "bool", "", short="i"),
    Flag("proxy", "bool", "", default=True),
    Flag("name", "string", "", short="n"),
    Flag("number", "int", "", default=-1),
    Flag("env", "list", "", short="e"),
    Flag("alias", "strings", ""),
    Flag("opt", "map", "", short="o"),
    Flag("filter", "filter", "", short="f"),
    Flag("memory", "bytes", "", short="m"),
    Flag("swap", "memory-swap", ""),
    Flag("wait", "duration", ""),
    Flag("cpus", "decimal", ""),
    Flag("old", "string", "", target="name", hidden=True),
)


def _parse(*words: str, interspersed: bool = True) -> Parsed:
    return parse(FLAGS, words, interspersed=interspersed)


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["-a"], "all", True),
        (["--all"], "all", True),
        (["--all=false"], "all", False),
        (["-a=0"], "all", False),
        (["--proxy=F"], "proxy", False),
        ([], "proxy", True),
        ([], "number", -1),
        (["--number", "-5"], "number", -5),
        (["--number=0x10"], "number", 16),
        (["--number=010"], "number", 8),
        (["--name", "x"], "name", "x"),
        (["--name=x=y"], "name", "x=y"),
        (["--name="], "name", ""),
        (["--name", "--all"], "name", "--all"),
        (["-n", "x"], "name", "x"),
        (["-nx"], "name", "x"),
        (["-n=x"], "name", "x"),
        (["-ain", "x"], "name", "x"),
        (["-ainx"], "name", "x"),
        (["--old", "x"], "name", "x"),
        (["-n", "x", "-n", "y"], "name", "y"),
        (["-e", "A=1", "--env=B"], "env", ["A=1", "B"]),
        (["--alias", "a,b", "--alias", '"c,d"'], "alias", ["a", "b", "c,d"]),
        (["-o", "a=1", "-o", "b", "-o", "a=2"], "opt", {"a": "2", "b": ""}),
        (["-f", "status=up", "-f", "Label=a=b"], "filter", [("status", "up"), ("label", "a=b")]),
        (["-m", "64k"], "memory", 65536),
        (["-m1.5g"], "memory", 3 << 29),
        (["--swap", "-1"], "swap", -1),
        (["--wait", "1m30s"], "wait", 90_000_000_000),
        (["--cpus", "1.5"], "cpus", 1_500_000_000),
        (["--cpus", "1/2"], "cpus", 500_000_000),
    ],
)
def test_values(words: list[str], name: str, value: Any) -> None:
    parsed = _parse(*words)
    assert parsed.flags[name] == value
    assert parsed.args == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["--nope=1"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-axy"], "unknown shorthand flag: 'x' in -xy"),
        (["--name"], "flag needs an argument: --name"),
        (["-n"], "flag needs an argument: 'n' in -n"),
        (["-an"], "flag needs an argument: 'n' in -an"),
        (["---name"], "bad flag syntax: ---name"),
        (["--=x"], "bad flag syntax: --=x"),
        (
            ["--all=yes"],
            (
                'invalid argument "yes" for "-a, --all" flag: '
                'strconv.ParseBool: parsing "yes": invalid syntax'
            ),
        ),
        (
            ["--number", "x"],
            (
                'invalid argument "x" for "--number" flag: '
                'strconv.ParseInt: parsing "x": invalid syntax'
            ),
        ),
        (["-m", "1x"], 'invalid argument "1x" for "-m, --memory" flag: invalid suffix: \'x\''),
        (
            ["--cpus", "x"],
            'invalid argument "x" for "--cpus" flag: failed to parse x as a rational number',
        ),
        (
            ["-f", "x"],
            (
                'invalid argument "x" for "-f, --filter" flag: '
                "bad format of filter (expected name=value)"
            ),
        ),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        _parse(*words)
    assert str(caught.value) == message
    assert caught.value.code == 125


def test_options_may_follow_arguments() -> None:
    parsed = _parse("x", "-a", "y", "--name", "z")
    assert parsed.args == ["x", "y"]
    assert parsed.flags["all"]


def test_options_end_at_the_image() -> None:
    parsed = _parse("-a", "image", "ls", "-n", "--what", interspersed=False)
    assert parsed.args == ["image", "ls", "-n", "--what"]


def test_two_dashes_end_the_options() -> None:
    parsed = _parse("x", "--", "-a", "--", "y")
    assert parsed.args == ["x", "-a", "--", "y"]
    assert parsed.dash_at == 1


def test_a_single_dash_is_an_argument() -> None:
    assert _parse("-").args == ["-"]


def test_what_was_given_is_known() -> None:
    flags = _parse("--number=-1", "--old", "x").flags
    assert flags.changed("number")
    assert flags.changed("name")
    assert not flags.changed("env")


def test_help() -> None:
    with pytest.raises(HelpWanted) as caught:
        _parse("-a", "--help", "--nope")
    assert not caught.value.short
    with pytest.raises(HelpWanted) as caught:
        _parse("-h")
    assert caught.value.short


@given(st.lists(st.text(alphabet="-=aeinx1 \u00e9,", max_size=8), max_size=6))
def test_nothing_but_usage_errors(words: list[str]) -> None:
    try:
        parsed = _parse(*words)
    except (UsageError, HelpWanted):
        return
    assert all(isinstance(word, str) for word in parsed.args)


@given(st.text(min_size=1), st.sampled_from(["--name={}", "-n{}", "--name {}", "-n {}"]))
def test_any_text_arrives_as_it_is(text: str, form: str) -> None:
    if form == "-n{}" and text.startswith("="):
        return
    words = [part.format(text) for part in form.split(" ")]
    assert _parse(*words).flags["name"] == text


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_integers(number: int) -> None:
    assert parse_int(str(number)) == number
    assert parse_int(hex(number)) == number


@pytest.mark.parametrize("text", ["", " 1", "1 ", "-", "0x", "1.0", "9_", "\u0661", str(1 << 63)])
def test_no_integers(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_int(text)


@given(st.integers(0, 10**6), st.integers(0, 10**9 - 1))
def test_decimals(whole: int, part: int) -> None:
    assert parse_decimal(f"{whole}.{part:09}") == whole * 10**9 + part
    assert parse_decimal(f"-{whole}.{part:09}") == -(whole * 10**9 + part)


@given(st.lists(st.text(min_size=1, alphabet='ab,"= '), min_size=1, max_size=4))
def test_csv(fields: list[str]) -> None:
    quoted = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert split_csv(quoted) == fields


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=20))
def test_values_are_parsed_or_refused(kind: str, text: str) -> None:
    try:
        KINDS[kind].parse(text)
    except BarqueError as error:
        assert str(error)  # noqa: PT017 - any text is allowed, but some


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "value is empty"),
        ("x", "invalid field 'x' must be a key=value pair"),
        ("type=bind", "target is required"),
        ("type=,dst=/x", "invalid value for 'type': value is empty"),
        ("dst=/x,foo=1", "unknown option 'foo' in 'foo=1'"),
        ("dst=/x, ro", "invalid option 'ro' in ' ro': option should not have whitespace"),
        ("type=bind,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("type=tmpfs,dst=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        (
            "type=bind,dst=/x,bind-recursive=writable",
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
        ),
    ],
)
def test_impossible_mounts(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_mount(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["x", "nofile", "nofile=", "nofile=a", "nofile=2:1", "core=1:2:3"])
def test_impossible_ulimits(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_ulimit(text)


@pytest.mark.parametrize("text", ["name=", "alias=a", "name=a,foo=b", "name=a,ip=x", "name=a,=b"])
def test_impossible_networks(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_network(text)


@pytest.mark.parametrize("text", ["x", "count=x", "all,count=1", "foo=1"])
def test_impossible_gpus(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_gpus(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("99999:80", "invalid hostPort: 99999"),
        ("80:99999", "invalid containerPort: 99999"),
        ("80:", "no port specified: 80:<empty>"),
        ("1.2.3:80:80", "invalid IP address: 1.2.3"),
        ("80/foo", "invalid proto: foo"),
        ("80-82:80-81", "invalid ranges specified for container and host Ports: 80-81 and 80-82"),
        ("82-80:80", "invalid hostPort: 82-80"),
        ("a=b,c", "invalid publish opts format (should be name=value but got 'c')"),
    ],
)
def test_impossible_ports(text: str, message: str) -> None:
    with pytest.raises(BarqueError) as caught:
        parse_publish([text])
    assert str(caught.value) == message


@given(st.integers(1, 65535), st.integers(0, 5), st.sampled_from(["tcp", "udp", "sctp"]))
def test_exposed_ranges(first: int, more: int, protocol: str) -> None:
    last = min(first + more, 65535)
    ports = parse_expose(f"{first}-{last}/{protocol}")
    assert ports == [f"{port}/{protocol}" for port in range(first, last + 1)]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", ("", 0)),
        ("no", ("no", 0)),
        ("always", ("always", 0)),
        ("on-failure:3", ("on-failure", 3)),
        ("on-failure:", ("on-failure", 0)),
    ],
)
def test_restart_policies(text: str, policy: tuple[str, int]) -> None:
    name, count = policy
    assert parse_restart_policy(text) == {"Name": name, "MaximumRetryCount": count}


@pytest.mark.parametrize("text", [":3", "on-failure:x"])
def test_impossible_restart_policies(text: str) -> None:
    with pytest.raises(BarqueError, match="invalid restart policy format"):
        parse_restart_policy(text)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ps -a", ("container ls", "ps", 1)),
        ("container ls", ("container ls", "container ls", 2)),
        ("container list", ("container ls", "container ls", 2)),
        ("container ps", ("container ls", "container ls", 2)),
        ("rmi x", ("image rm", "rmi", 1)),
        ("run -it x", ("container run", "run", 1)),
        ("version", ("version", "version", 1)),
        ("container", None),
        ("nope", None),
        ("container nope", None),
    ],
)
def test_finding_commands(words: str, found: tuple[str, str, int] | None) -> None:
    assert find_path(words.split()) == found


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_well_declared(path: str) -> None:
    command = find_command(path)
    names = [flag.name for flag in command.flags]
    shorts = [flag.short for flag in command.flags if flag.short]
    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)
    assert all(flag.kind in KINDS for flag in command.flags)
    assert all(flag.target in ("", *names) for flag in command.flags)
    assert path.count(" ") == 0 or path.split(maxsplit=1)[0] in GROUPS


def test_no_name_is_used_twice() -> None:
    names = [name for path in COMMANDS for name in names_of(path)]
    assert len(set(names)) == len(names)


def test_create_takes_what_run_takes() -> None:
    only_run = {flag.name for flag in RUN_FLAGS} - {flag.name for flag in CREATE_FLAGS}
    assert only_run == {"detach", "detach-keys", "sig-proxy"}
