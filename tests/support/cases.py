"""Cases for comparing engines: a shell script with the stock command line, and what it says.

A case says what every engine that speaks the Engine API is to answer. The same table is
checked against dockerd, where it is installed, and against barque.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.engine import Engine

TIMEOUT_S = 60

_NORMAL_FORMS = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12}\b"), "<short id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "<time>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \w+"), "<time>"),
    (re.compile(r"(Less than a second|About a minute|\d+ (second|minute)s?)"), "<duration>"),
    (re.compile(r"\r\n"), "\n"),
)


@dataclass(frozen=True)
class Case:
    """One script and its outcome.

    ``out`` is the whole normalised standard output; None takes whatever dockerd says. ``err``
    is a pattern that standard error contains; "" is none at all. ``full_root`` marks what
    dockerd can do only where root has every capability.
    """

    name: str
    script: str
    out: str | None = ""
    code: int = 0
    err: str = ""
    full_root: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a script, in normal form."""

    code: int
    out: str
    err: str


def root_is_full() -> bool:
    """Whether this process's bounding set holds every capability that the kernel knows."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    status = Path("/proc/self/status").read_text()
    bounding = int(status.partition("CapBnd:")[2].split()[0], 16)
    return bounding == (2 << last) - 1


def normalise(text: str) -> str:
    """Replace ids, times and durations, which no two engines share."""
    for pattern, form in _NORMAL_FORMS:
        text = pattern.sub(form, text)
    return text


def run_script(engine: Engine, script: str, folder: Path) -> Outcome:
    """Run ``script`` in ``folder`` with ``docker`` talking to ``engine``.

    ``docker`` may be named freely; the image ``busybox`` is there.
    """
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=engine.client_environment(),
        cwd=folder,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Outcome(
        done.returncode,
        normalise(done.stdout.decode(errors="replace")),
        normalise(done.stderr.decode(errors="replace")),
    )


def describe_mismatch(case: Case, outcome: Outcome, out: str | None) -> str:
    """Return how ``outcome`` differs from what ``case`` says, or "" if it does not.

    ``out`` stands in for an output that the case does not record; None is anything.
    """
    wanted = case.out if case.out is not None else out
    problems = []
    if outcome.code != case.code:
        problems.append(f"exit code {outcome.code}, wanted {case.code}")
    if wanted is not None and outcome.out != wanted:
        problems.append(f"stdout {outcome.out!r}\nwanted {wanted!r}")
    if bool(case.err) != bool(outcome.err) or not re.search(case.err, outcome.err):
        problems.append(f"stderr {outcome.err!r}\nwanted {case.err!r}")
    if problems and outcome.err:
        problems.append(f"(stderr: {outcome.err!r})")
    return "\n".join(problems)
