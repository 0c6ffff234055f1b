"""Requests and replies over a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest

from barque.api.operations import OPERATIONS, State
from barque.engine.handle import WaitResult
from barque.engine.logfiles import LogEntry
from barque.models.api import ContainerConfig, HostConfig
from barque.models.container import ContainerState
from barque.registry.auth import Credentials
from support.api_engine import (
    IMAGE_ID,
    FakeEngine,
    Site,
    make_record,
    read_answer,
    read_chunk,
    read_head,
    serving,
)

TOO_NEW = "is too new. Maximum supported API version is 1.51"
SWARM = "This node is not a swarm manager."


def run(test: Callable[[Site], Awaitable[None]], engine: FakeEngine | None = None) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(30), serving(engine) as site:
            await test(site)

    asyncio.run(guarded())


def filtered(**filters: Any) -> str:
    return "filters=" + quote(json.dumps(filters))


def test_ping_and_the_headers_of_every_reply() -> None:
    async def test(site: Site) -> None:
        for method in ("GET", "HEAD"):
            answer = await site.send(method, "/_ping")
            assert answer.status == 200
            assert answer.body == (b"OK" if method == "GET" else b"")
            expected = {
                "Api-Version": "1.51",
                "Docker-Experimental": "false",
                "Ostype": "linux",
                "Builder-Version": "1",
                "Swarm": "inactive",
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": "2",
            }
            assert expected.items() <= answer.headers.items()
            assert answer.headers["Server"].startswith("barque/")
        assert (await site.send("OPTIONS", "/anything")).status == 200

    run(test)


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        ("/v1.99/info", 400, f"client version 1.99 {TOO_NEW}"),
        ("/v2/info", 400, f"client version 2 {TOO_NEW}"),
        ("/nothing", 404, "page not found"),
        ("/v1.51", 404, "page not found"),
        ("/version/x", 404, "page not found"),
        ("/containers/none/json", 404, "No such container: none"),
        ("/images/none/json", 404, "No such image: none:latest"),
        ("/networks/nil", 404, "network nil not found"),
        ("/volumes/none", 404, "get none: no such volume"),
        ("/exec/none/json", 404, "No such exec instance: none"),
        ("/containers/json?filters=x", 400, "invalid filter: not a JSON map of lists: x"),
        ("/containers/json?filters=%7B%22foo%22:%5B%5D%7D", 400, "invalid filter 'foo'"),
        ("/containers/json?limit=x", 400, "invalid limit 'x': not a decimal integer"),
        ("/containers/c/logs", 400, "Bad parameters: you must choose at least one stream"),
    ],
)  # fmt: skip
def test_errors_have_their_status_and_message(target: str, status: int, message: str) -> None:
    async def test(site: Site) -> None:
        answer = await site.send("GET", target)
        assert (answer.status, answer.message) == (status, message)
        assert answer.headers["Content-Type"] == "application/json"

    run(test)


def test_a_client_older_than_1_24_reads_plain_text() -> None:
    async def test(site: Site) -> None:
        answer = await site.send("GET", "/v1.11/info")
        assert answer.status == 400
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.body.startswith(b"client version 1.11 is too old. Minimum supported API")

    run(test)


def test_every_operation_answers_as_the_table_says() -> None:
    async def test(site: Site) -> None:
        for operation in OPERATIONS:
            if operation.state is State.WORKS:
                continue
            path = operation.path.replace("{id}", "x").replace("{name}", "y")
            answer = await site.send(operation.method, path)
            wanted = 503 if operation.state is State.SWARM else 501
            assert answer.status == wanted, operation
            if operation.method == "HEAD":
                continue
            if operation.state is State.SWARM:
                assert answer.message.startswith(SWARM)
            else:
                assert answer.message.startswith(operation.id)
                assert answer.message.endswith("is not implemented by barque yet")
        assert await site.get("/plugins") == []

    run(test)


def test_a_defect_is_a_500_and_the_server_goes_on() -> None:
    async def test(site: Site) -> None:
        answer = await site.send("POST", "/containers/c/unpause")
        assert (answer.status, answer.message) == (
            500,
            "internal error: ZeroDivisionError: a defect",
        )
        assert (await site.send("GET", "/_ping")).status == 200

    run(test)


def test_pipelined_and_kept_alive_requests_are_answered_in_order() -> None:
    async def test(site: Site) -> None:
        reader, writer = await site.open()
        writer.write(
            b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
            b"HEAD /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /_ping HTTP/1.0\r\n\r\n"
        )
        assert (await read_answer(reader)).body == b"OK"
        assert (await read_answer(reader)).status == 404
        assert (await read_answer(reader, head_only=True)).status == 200
        assert (await read_answer(reader)).headers["Connection"] == "close"
        assert await reader.read() == b""
        writer.close()

    run(test)


CREATE = "/containers/create?name=n&platform=linux/amd64"


def test_create_reads_names_in_any_case_and_drops_nulls() -> None:
    async def test(site: Site) -> None:
        body = {
            "image": "busybox",
            "CMD": ["a"],
            "Env": None,
            "Unknown": 1,
            "hostconfig": {"BINDS": ["/a:/b"], "portbindings": {"80/tcp": [{"hostport": "1"}]}},
            "NetworkingConfig": {"EndpointsConfig": {"net": None}},
        }
        answer = await site.send("POST", CREATE, body)
        assert answer.status == 201
        assert answer.json()["Warnings"] == []
        _, name, config, host, networking, platform = site.engine.containers.calls[0]
        assert (name, platform, config.image, config.cmd) == ("n", "linux/amd64", "busybox", ["a"])
        assert config.env is None
        assert host.binds == ["/a:/b"]
        assert host.port_bindings["80/tcp"][0].host_port == "1"
        assert list(networking.endpoints_config) == ["net"]

    run(test)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"{}", "text/plain", "unsupported Content-Type header (text/plain): must be"),
        (b"{}", "", "unsupported Content-Type header (): must be 'application/json'"),
        (b"{bad", "application/json", "invalid JSON: "),
        (b"{}x", "application/json", "invalid JSON: "),
        (b"[]", "application/json", "invalid JSON: the request body must be an object"),
        (b"", "application/json", "config cannot be empty"),
        (b'{"Image":3}', "application/json", "invalid JSON: Image: Expected `str`, got `int`"),
        (
            b'{"HostConfig":{"Mounts":[{"BindOptions":{"NonRecursive":"x"}}]}}',
            "application/json; charset=utf-8",
            "invalid JSON: HostConfig.Mounts[0].BindOptions.NonRecursive: Expected `bool`",
        ),
    ],
)
def test_a_bad_body_is_a_400_that_names_the_field(body: bytes, kind: str, message: str) -> None:
    async def test(site: Site) -> None:
        headers = {"Content-Type": kind} if kind else {}
        answer = await site.send("POST", "/containers/create", body, headers)
        assert answer.status == 400
        assert answer.message.startswith(message)

    run(test)


def test_a_body_beyond_the_limit_is_refused_unread() -> None:
    async def test(site: Site) -> None:
        reader, writer = await site.open()
        writer.write(
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000000000\r\n\r\n"
        )
        answer = await read_answer(reader)
        assert answer.status == 413
        assert "at most" in answer.message
        writer.close()

    run(test)


def test_expect_100_continue() -> None:
    async def test(site: Site) -> None:
        reader, writer = await site.open()
        writer.write(
            b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 15\r\n\r\n"
        )
        assert await read_head(reader) == (100, {})
        writer.write(b'{"Image":"busy"')
        assert (await read_answer(reader)).status == 400
        writer.close()

    run(test)


def test_create_by_version() -> None:
    async def test(site: Site) -> None:
        two: Any = {"EndpointsConfig": {"a": {}, "b": {}}}
        body = {"Image": "busybox", "NetworkingConfig": two}
        assert (await site.send("POST", "/v1.43/containers/create", body)).status == 400
        assert (await site.send("POST", "/v1.44/containers/create", body)).status == 201
        body = {"HostConfig": {"ConsoleSize": [1, 2], "Annotations": {"a": "b"}}}
        for version in ("1.41", "1.51"):
            await site.send("POST", f"/v{version}/containers/create", body)
        old, new = (call[3] for call in site.engine.containers.calls[-2:])
        assert (old.console_size, old.annotations) == (None, None)
        assert (new.console_size, new.annotations) == ([1, 2], {"a": "b"})
        mount = {"Type": "image", "Source": "busybox", "Target": "/x"}
        body = {"HostConfig": {"Mounts": [mount]}}
        assert (await site.send("POST", "/v1.47/containers/create", body)).status == 400
        await site.send("POST", "/containers/create", {"MacAddress": "02:00:00:00:00:01"})
        endpoints = site.engine.containers.calls[-1][4].endpoints_config
        assert endpoints["bridge"].mac_address == "02:00:00:00:00:01"

    run(test)


def test_life_cycle_calls_reach_the_engine() -> None:
    async def test(site: Site) -> None:
        site.engine.containers.add(make_record(1, name="c"))
        expectations = [
            ("POST", "/containers/c/start", 304, ("start", "c")),
            ("POST", "/containers/c/stop?t=3&signal=HUP", 204, ("stop", "c", "HUP", 3)),
            ("POST", "/v1.41/containers/c/stop?signal=HUP", 204, ("stop", "c", None, None)),
            ("POST", "/containers/c/restart?t=-1", 204, ("restart", "c", None, -1)),
            ("POST", "/containers/c/kill", 204, ("kill", "c", "SIGKILL")),
            ("POST", "/containers/c/kill?signal=15", 204, ("kill", "c", "15")),
            ("POST", "/containers/c/pause", 409, ("pause", "c")),
            ("POST", "/containers/c/rename?name=d", 204, ("rename", "c", "d")),
            ("POST", "/containers/c/resize?h=1&w=2", 200, ("resize", "c", 1, 2)),
            ("GET", "/containers/c/top?ps_args=aux", 200, ("top", "c", "aux")),
            ("DELETE", "/containers/c?force=1&v=0", 204, ("remove", "c", True, False)),
        ]
        for method, target, status, call in expectations:
            answer = await site.send(method, target)
            assert answer.status == status, target
            assert site.engine.containers.calls[-1] == call
            assert answer.body == b"" or status in {200, 409}
        for target in ("resize?h=x&w=1", "resize?h=1", "stop?t=x", "rename"):
            assert (await site.send("POST", f"/containers/c/{target}")).status == 400
        answer = await site.send("POST", f"/containers/prune?{filtered(until=['1h'])}")
        assert answer.json() == {"ContainersDeleted": None, "SpaceReclaimed": 0}

    run(test)


def test_wait_sends_its_head_at_once() -> None:
    async def test(site: Site) -> None:
        site.engine.containers.add(make_record(1, name="c"))
        for prefix, body in (
            ("", b'{"StatusCode":3}\n'),
            ("/v1.41", b'{"Error":null,"StatusCode":3}\n'),
        ):
            site.engine.containers.waits.clear()
            reader, writer = await site.open()
            writer.write(
                b"POST %s/containers/c/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n"
                % prefix.encode()
            )
            assert (await read_head(reader))[0] == 200
            site.engine.containers.waits["c"].set_result(WaitResult(3, ""))
            assert await read_chunk(reader) == body
            assert await read_chunk(reader) == b""
            writer.write(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await read_answer(reader)).body == b"OK"
            writer.close()
        assert (await site.send("POST", "/containers/c/wait?condition=x")).status == 400
        assert (await site.send("POST", "/containers/none/wait")).status == 404

    run(test)


def test_a_client_that_goes_away_cancels_its_wait() -> None:
    async def test(site: Site) -> None:
        site.engine.containers.add(make_record(1, name="c"))
        reader, writer = await site.open()
        writer.write(b"POST /containers/c/wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_head(reader)
        future = site.engine.containers.waits["c"]
        writer.close()
        await asyncio.wait({future}, timeout=5)
        assert future.cancelled()

    run(test)


def test_logs() -> None:
    async def test(site: Site) -> None:
        containers = site.engine.containers
        containers.add(make_record(1, name="c"))
        containers.entries = [
            LogEntry("one\n", "stdout", "2023-11-14T22:13:20.000000001Z"),
            LogEntry("two\n", "stderr", "2023-11-14T22:13:20.5Z", {"k 1": "v&", "a": "b"}),
        ]
        answer = await site.send("GET", "/containers/c/logs?stdout=1&stderr=1&tail=7&since=1.5")
        assert answer.headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"
        assert answer.body == b"\1\0\0\0\0\0\0\4one\n\2\0\0\0\0\0\0\4two\n"
        query = containers.calls[-1][2]
        assert (query.tail, query.since_ns, query.until_ns) == (7, 1_500_000_000, None)
        target = "/v1.41/containers/c/logs?stderr=1&timestamps=1&details=1&tail=all"
        answer = await site.send("GET", target)
        assert answer.headers["Content-Type"] == "application/vnd.docker.raw-stream"
        assert answer.body[8:].startswith(b"2023-11-14T22:13:20.000000001Z  one\n")
        assert answer.body.endswith(b"2023-11-14T22:13:20.500000000Z a=b,k+1=v%26 two\n")
        config = ContainerConfig(tty=True, image="busybox:latest")
        containers.add(make_record(2, name="tty", config=config))
        answer = await site.send("GET", "/containers/tty/logs?stdout=1")
        assert answer.headers["Content-Type"] == "application/vnd.docker.raw-stream"
        assert answer.body == b"one\ntwo\n"

    run(test)


def test_following_logs_ends_with_the_client_or_the_server() -> None:
    async def test(site: Site) -> None:
        site.engine.containers.add(make_record(1, name="c"))
        for end in ("client", "server"):
            site.engine.containers.follow_closed.clear()
            reader, writer = await site.open()
            writer.write(b"GET /containers/c/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await read_head(reader))[0] == 200
            if end == "client":
                writer.close()
            else:
                await site.server.close(1)
            await site.engine.containers.follow_closed.wait()
            writer.close()

    run(test)


def test_events() -> None:
    async def test(site: Site) -> None:
        publish = site.engine.events.publish
        publish("container", "start", "1" * 64, {"image": "busybox", "name": "c", "a": "b"})
        publish("container", "exec_start: sh", "2" * 64, {"image": "x", "name": "d"})
        publish("volume", "create", "data", {"driver": "local"})
        assert (await site.send("GET", "/events?since=1&until=1")).body == b""
        reader, writer = await site.open()
        writer.write(b"GET /events?since=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_head(reader))[1]["Content-Type"] == "application/json"
        first = json.loads(await read_chunk(reader))
        assert first["status"] == first["Action"] == "start"
        assert (first["id"], first["from"]) == ("1" * 64, "busybox")
        assert first["Actor"]["Attributes"]["a"] == "b"
        assert first["time"] == first["timeNano"] // 10**9
        await read_chunk(reader)
        assert "status" not in json.loads(await read_chunk(reader))
        publish("container", "die", "1" * 64, {"image": "busybox", "name": "c"})
        assert json.loads(await read_chunk(reader))["Action"] == "die"
        writer.close()
        past = f"/events?since=1&until={time.time_ns() / 1e9:.9f}&"
        for filters, actions in (
            ({"container": ["c"]}, ["start", "die"]),
            ({"event": ["exec_start"]}, ["exec_start: sh"]),
            ({"type": ["volume"]}, ["create"]),
            ({"label": ["a=b"]}, ["start"]),
            ({"image": ["busybox"]}, ["start", "die"]),
            ({"image": ["busybox:latest"]}, ["start", "die"]),
        ):
            answer = await site.send("GET", past + filtered(**filters))
            got = [json.loads(line)["Action"] for line in answer.body.splitlines()]
            assert got == actions, filters

    run(test)


def test_list_selects_and_shapes() -> None:
    async def test(site: Site) -> None:
        containers = site.engine.containers
        exited = ContainerState(
            exit_code=3, started_at="2026-01-02T00:00:00Z", finished_at="2026-01-02T00:01:00Z"
        )
        containers.add(make_record(1))
        containers.add(make_record(2, state=exited))
        containers.add(
            make_record(3, state=ContainerState(), host_config=HostConfig(network_mode="none"))
        )
        for query, names in (
            ("", ["c1"]),
            ("all=1", ["c3", "c2", "c1"]),
            ("all=false", ["c1"]),
            ("limit=2", ["c3", "c2"]),
            (filtered(status=["exited", "created"]), ["c3", "c2"]),
            ("filters=" + quote('{"status":{"running":true,"exited":false}}'), ["c1"]),
            ("all=1&" + filtered(exited=["3"]), ["c2"]),
            ("all=1&" + filtered(name=["^/c1$"]), ["c1"]),
            ("all=1&" + filtered(name=["2"]), ["c2"]),
            ("all=1&" + filtered(name=["["]), []),
            ("all=1&" + filtered(label=["app", "number=2"]), ["c2"]),
            ("all=1&" + filtered(id=["000"]), ["c3", "c2", "c1"]),
            ("all=1&" + filtered(before=["c2"]), ["c1"]),
            ("all=1&" + filtered(since=["c2"]), ["c3"]),
            ("all=1&" + filtered(ancestor=["busybox"]), ["c3", "c2", "c1"]),
            ("all=1&" + filtered(ancestor=["none"]), []),
            ("all=1&" + filtered(volume=["/data"], network=["bridge"]), ["c3", "c2", "c1"]),
            ("all=1&" + filtered(expose=["80-81/tcp"]), ["c3", "c2", "c1"]),
            ("all=1&" + filtered(publish=["80"]), []),
            ("all=1&" + filtered(health=["none"]), ["c3", "c2", "c1"]),
            ("all=1&" + filtered(**{"is-task": ["true"]}), []),
        ):  # fmt: skip
            found = await site.get(f"/containers/json?{query}")
            assert [entry["Names"][0][1:] for entry in found] == names, query
        for wrong in ({"status": ["x"]}, {"exited": ["x"]}, {"health": ["x"]}, {"expose": ["x"]}):
            answer = await site.send("GET", f"/containers/json?{filtered(**wrong)}")
            assert answer.status == 400, wrong
        entry = (await site.get("/containers/json"))[0]
        assert entry["Command"] == "sleep 1000 'a b'"
        assert entry["Image"] == "busybox:latest"
        assert entry["Ports"] == [{"PrivatePort": 80, "Type": "tcp"}]
        assert entry["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == "172.17.0.2"
        assert entry["Mounts"][0]["Name"] == "data"
        assert "SizeRw" not in entry
        assert (await site.get("/containers/json?size=1"))[0]["SizeRootFs"] == 22
        # A tag that moved away leaves the id; a new record replaces what was kept of the old.
        site.engine.images.images[0].tags.remove("busybox:latest")
        assert (await site.get("/containers/json"))[0]["Image"] == IMAGE_ID
        containers.add(make_record(1, name="renamed"))
        assert (await site.get("/containers/json"))[0]["Names"] == ["/renamed"]

    run(test)


def test_inspect_has_what_clients_read() -> None:
    async def test(site: Site) -> None:
        record = site.engine.containers.add(make_record(1, name="c"))
        document = await site.get("/containers/c/json")
        assert document["Name"] == "/c"
        assert document["State"]["Status"] == "running"
        assert document["HostConfig"]["ShmSize"] == 67108864
        assert document["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
        assert document["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}
        assert "/proc/kcore" in document["HostConfig"]["MaskedPaths"]
        assert document["HostConfig"]["Devices"] == []
        settings = document["NetworkSettings"]
        assert settings["IPAddress"] == "172.17.0.2"
        assert settings["Ports"] == {"80/tcp": None}
        assert settings["SandboxKey"] == f"/proc/{record.state.pid}/ns/net"
        assert document["HostnamePath"].endswith(f"containers/{record.id}/hostname")
        assert "MacAddress" not in document["Config"]
        assert document["Config"]["Labels"]["app"] == "test"
        assert "SizeRw" not in document
        sized = await site.get("/containers/c/json?size=1")
        assert (sized["SizeRw"], sized["SizeRootFs"]) == (11, 22)
        old = await site.get("/v1.43/containers/c/json")
        assert old["Config"]["MacAddress"] == "02:42:ac:11:00:02"
        assert "DNSNames" not in old["NetworkSettings"]["Networks"]["bridge"]

    run(test)


def test_images() -> None:
    async def test(site: Site) -> None:
        site.engine.containers.add(make_record(1))
        (summary,) = await site.get("/images/json")
        assert (summary["Id"], summary["Containers"], summary["SharedSize"]) == (IMAGE_ID, 1, -1)
        assert "VirtualSize" not in summary
        (old,) = await site.get("/v1.43/images/json")
        assert (old["VirtualSize"], old["Containers"]) == (1256184, -1)
        for filters, count in (
            ({"reference": ["busybox"]}, 1),
            ({"reference": ["registry:5000/*/busybox"]}, 1),
            ({"reference": ["busy*:lat*"]}, 1),
            ({"reference": ["alpine"]}, 0),
            ({"dangling": ["true"]}, 0),
            ({"label": ["a=b"]}, 1),
            ({"label!": ["a"]}, 0),
            ({"until": ["2025-01-01"]}, 0),
            ({"since": ["busybox"]}, 0),
        ):
            assert len(await site.get(f"/images/json?{filtered(**filters)}")) == count, filters
        name = "registry:5000/x/busybox:1"
        document = await site.get(f"/images/{name}/json")
        assert document["Id"] == IMAGE_ID
        assert document["Config"]["Cmd"] == ["sh"]
        assert document["Comment"] == "Imported from -"
        assert "ContainerConfig" not in document
        assert "ContainerConfig" in await site.get(f"/v1.44/images/{quote(name, safe='')}/json")
        assert (await site.get("/images/busybox/history"))[0]["Id"] == IMAGE_ID
        answer = await site.send("POST", f"/images/{name}/tag?repo=new&tag=2")
        assert (answer.status, answer.body) == (201, b"")
        assert "new:2" in site.engine.images.images[0].tags
        assert (await site.send("DELETE", "/images/new:2")).status == 409
        answer = await site.send("DELETE", "/images/new:2?force=1")
        assert answer.json() == [{"Untagged": "new:2"}]
        answer = await site.send("POST", f"/images/prune?{filtered(dangling=['false'])}")
        assert answer.json() == {"ImagesDeleted": None, "SpaceReclaimed": 0}

    run(test)


def test_import_and_load_stream_both_ways() -> None:
    async def test(site: Site) -> None:
        data = bytes(range(256)) * 4000
        answer = await site.send("POST", "/images/create?fromSrc=-&repo=x", data)
        assert (answer.status, answer.json()) == (200, {"status": IMAGE_ID})
        assert site.engine.images.received == data
        answer = await site.send("POST", "/images/load?quiet=0", b"tar")
        lines = [json.loads(line) for line in answer.body.splitlines()]
        assert lines[0] == {"stream": "Loaded image: busybox:latest\n"}
        assert lines[1]["error"] == "the second image is broken"
        assert (await site.send("POST", "/images/create")).status == 400

    run(test)


def test_pull_and_push_stream_progress_and_failures() -> None:
    async def test(site: Site) -> None:
        secret = base64.urlsafe_b64encode(b'{"username":"me","password":"it?>"}').decode()
        path = "/images/create?fromImage=alpine&tag=3.20&platform=linux/arm64"
        answer = await site.send("POST", path, headers={"X-Registry-Auth": secret})
        assert answer.json() == {"status": "Pulling from library/alpine", "id": "3.20"}
        given = Credentials(username="me", password="it?>")
        assert site.engine.images.exchange.calls == [("alpine", "3.20", "linux/arm64", given)]
        # Before there is progress a failure is the status; later it is the last message.
        assert (await site.send("POST", "/images/create?fromImage=missing")).status == 404
        answer = await site.send("POST", "/images/create?fromImage=broken&tag=1")
        last = json.loads(answer.body.splitlines()[-1])
        assert (answer.status, last["error"]) == (200, "the connection ended early")
        assert last["errorDetail"] == {"message": "the connection ended early"}
        answer = await site.send("POST", "/images/busybox/push?tag=1")
        assert (
            answer.json()["status"] == "The push refers to repository [docker.io/library/busybox]"
        )

    run(test)


def test_questions_to_registries() -> None:
    async def test(site: Site) -> None:
        answer = await site.send("POST", "/auth", {"username": "me", "password": "right"})
        assert answer.json() == {"Status": "Login Succeeded", "IdentityToken": "token"}
        answer = await site.send("POST", "/auth", {"username": "me", "password": "wrong"})
        assert (answer.status, "incorrect" in answer.json()["message"]) == (401, True)
        answer = await site.send("GET", "/distribution/registry:5000/a/b:1/json")
        assert answer.json() == {"Descriptor": {}, "Platforms": []}
        assert site.engine.images.exchange.calls[-1] == ("registry:5000/a/b:1", Credentials())
        assert len(await site.get("/images/search?term=x")) == 3
        found = await site.get(f"/images/search?term=x&{filtered(stars=['1'])}")
        assert [item["star_count"] for item in found] == [1, 2]
        found = await site.get(f"/images/search?term=x&{filtered(**{'is-official': ['false']})}")
        assert [item["star_count"] for item in found] == [0, 1]
        assert (await site.send("GET", "/images/search?term=x&limit=101")).status == 400
        assert (await site.send("GET", "/images/search")).status == 400
        told = (await site.get("/info"))["RegistryConfig"]
        assert told["InsecureRegistryCIDRs"] == ["127.0.0.0/8", "::1/128", "10.0.0.0/8"]
        assert told["IndexConfigs"]["docker.io"]["Mirrors"] == ["https://mirror/"]
        assert told["IndexConfigs"]["lab:5000"]["Secure"] is False

    run(test)


def test_volumes_and_networks() -> None:
    async def test(site: Site) -> None:
        site.engine.containers.add(make_record(1, name="c"))
        listed = await site.get(f"/volumes?{filtered(dangling=['true'])}")
        assert [volume["Name"] for volume in listed["Volumes"]] == ["other"]
        answer = await site.send("POST", "/volumes/create", {"Name": "new", "Labels": {"a": "b"}})
        assert (answer.status, answer.json()["Labels"]) == (201, {"a": "b"})
        assert (await site.send("DELETE", "/volumes/none")).status == 404
        assert (await site.send("DELETE", "/volumes/none?force=1")).status == 204
        assert (await site.send("DELETE", "/volumes/new")).status == 204
        for prefix, filters in (("", {}), ("/v1.41", {"all": ["true"]})):
            answer = await site.send("POST", f"{prefix}/volumes/prune")
            assert answer.json() == {"VolumesDeleted": ["other"], "SpaceReclaimed": 7}
            assert site.engine.volumes.calls[-1] == ("prune", filters)
        for target in ("/networks", "/networks/"):
            assert [n["Name"] for n in await site.get(target)] == ["bridge", "host", "none"]
        assert len(await site.get(f"/networks?{filtered(driver=['null'])}")) == 1
        assert len(await site.get(f"/networks?{filtered(type=['custom'])}")) == 0
        network = await site.get("/networks/bridge")
        assert network["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
        (endpoint,) = network["Containers"].values()
        assert (endpoint["Name"], endpoint["IPv4Address"]) == ("c", "172.17.0.2/16")
        usage = await site.get("/system/df")
        assert usage["Volumes"][0]["UsageData"] == {"RefCount": 1, "Size": 5}
        assert usage["Containers"][0]["SizeRw"] == 11
        assert (await site.send("GET", "/system/df?type=x")).status == 400

    run(test)


def test_exec_create_and_inspect() -> None:
    async def test(site: Site) -> None:
        assert (await site.send("POST", "/containers/c/exec", {"Cmd": []})).status == 400
        body = {"Cmd": ["sh", "-c", "x"], "AttachStdout": True, "DetachKeys": "ctrl-?"}
        assert (await site.send("POST", "/containers/c/exec", body)).status == 400
        body["DetachKeys"] = "ctrl-x"
        exec_id = (await site.send("POST", "/containers/c/exec", body)).json()["Id"]
        document = await site.get(f"/exec/{exec_id}/json")
        assert document["ProcessConfig"]["arguments"] == ["-c", "x"]
        assert (document["ExitCode"], document["Running"]) == (None, False)
        answer = await site.send("POST", f"/exec/{exec_id}/resize?h=2&w=3")
        assert answer.status == 200
        assert site.engine.execs.calls[-1] == ("resize", exec_id, 2, 3)

    run(test)


def test_changing_networks() -> None:
    async def check(site: Site) -> None:
        body = {
            "Name": "shop",
            "Internal": True,
            "IPAM": {
                "Config": [{"Subnet": "10.1.0.0/16", "AuxiliaryAddresses": {"r": "10.1.0.9"}}]
            },
            "Options": {"com.docker.network.driver.mtu": "1400"},
        }
        answer = await site.send("POST", "/networks/create", body)
        assert (answer.status, answer.json()) == (201, {"Id": "5" * 64, "Warning": ""})
        _, request = site.engine.networks.calls[-1]
        assert (request.name, request.internal, request.enable_ipv4) == ("shop", True, None)
        assert request.ipam.config[0].auxiliary_addresses == {"r": "10.1.0.9"}
        endpoint = {"IPAMConfig": {"IPv4Address": "10.1.0.7"}, "GwPriority": 3}
        joined = {"Container": "c1", "EndpointConfig": endpoint}
        assert (await site.send("POST", "/networks/bridge/connect", joined)).status == 200
        _, ref, container, asked = site.engine.networks.calls[-1]
        assert (ref, container, asked.gw_priority) == ("bridge", "c1", 3)
        assert asked.ipam_config.ipv4_address == "10.1.0.7"
        left = {"Container": "c1", "Force": True}
        assert (await site.send("POST", "/networks/bridge/disconnect", left)).status == 200
        assert site.engine.networks.calls[-1][1:] == ("bridge", "c1", True)
        pruned = await site.send("POST", f"/networks/prune?{filtered(label=['x'])}")
        assert pruned.json() == {"NetworksDeleted": ["old"]}
        assert site.engine.networks.calls[-1][1] == {"label": ["x"]}

    run(check)
