"""The engine killed at random moments of a storm of requests: everything agrees afterwards."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from typing import Self

import pytest

from support.agreement import settle
from support.engine import Engine
from support.scale import scaled
from support.wire import call

WORKERS = 6
STORM_S = (0.02, 0.4)


class Storm:
    """Clients that make, start, stop and remove containers until the engine goes away."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self.unexpected: list[str] = []
        """Answers that no client should ever get."""
        self._workers = [
            threading.Thread(target=self._work, args=(random.Random(seed * 100 + n), f"s{n}-"))
            for n in range(WORKERS)
        ]

    def __enter__(self) -> Self:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join(60)

    def _work(self, random_: random.Random, prefix: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self._live(random_, f"{prefix}{number}")
            except (OSError, http.client.HTTPException, ValueError):
                return  # the engine has gone

    def _live(self, random_: random.Random, name: str) -> None:
        program = random_.choice(("sleep 1000", "true", "sleep 0.05", "nonesuch")).split()
        body = {
            "Image": "busybox",
            "Cmd": program,
            "StopSignal": "SIGKILL",
            "Volumes": {"/data": {}} if random_.random() < 0.2 else {},
            "HostConfig": {
                "NetworkMode": random_.choice(("bridge", "none")),
                "AutoRemove": random_.random() < 0.4,
                "RestartPolicy": {"Name": ""},
            },
        }
        self._ask("POST", f"/containers/create?name={name}", body)
        for _ in range(random_.randrange(6)):
            action = random_.choice(("start", "start", "stop?t=0", "restart?t=0", "kill"))
            self._ask("POST", f"/containers/{name}/{action}")
        if random_.random() < 0.5:
            self._ask("DELETE", f"/containers/{name}?force=1&v=1")

    def _ask(self, method: str, target: str, body: object = None) -> None:
        status, answer = call(self._engine.socket, method, target, body)
        if status >= 500 or (status == 400 and "not found" not in str(answer)):
            self.unexpected.append(f"{method} {target}: {status} {answer}")


@pytest.fixture(params=[signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def end(request: pytest.FixtureRequest) -> signal.Signals:
    number: signal.Signals = request.param
    return number


def test_everything_agrees_after_a_storm(end: signal.Signals, barqued: Engine) -> None:
    seed = int(os.environ.get("BARQUE_TEST_SEED", "1"))
    random_ = random.Random(seed)
    call(barqued.socket, "POST", "/volumes/prune")
    for round_number in range(scaled(12 if end is signal.SIGKILL else 6)):
        with Storm(barqued, seed * 1000 + round_number) as storm:
            time.sleep(random_.uniform(*STORM_S))
            if end is signal.SIGKILL:
                barqued.kill()
            else:
                assert barqued.stop() == 0
        said = [line for line in storm.unexpected if end is signal.SIGKILL]
        assert not said, "\n".join(said)
        barqued.start()
        _assert_agreement(barqued, f"seed {seed}, round {round_number}")
        if round_number % 3 == 2:
            barqued.remove_containers()
            _assert_agreement(barqued, f"seed {seed}, round {round_number}, all removed")
    barqued.remove_containers()
    call(barqued.socket, "POST", '/volumes/prune?filters={"all":["true"]}')
    assert os.listdir(barqued.data_root / "volumes") == []


def _assert_agreement(engine: Engine, when: str) -> None:
    found = settle(engine)
    assert not found, "\n".join([when, *found])
