"""``system check``: is what the engine keeps whole (``POST /barque/system/check``)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, Flag, Invocation
from barque.cli.listing import Listing, render
from barque.cli.progress import show_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FINDINGS = Listing(
    "*barque.finding",
    {
        "Kind": ("KIND", lambda each: each["Kind"]),
        "Name": ("NAME", lambda each: each["Name"]),
        "Problem": ("PROBLEM", lambda each: each["Problem"]),
        "Result": ("RESULT", lambda each: each["Result"]),
        "Repaired": ("REPAIRED", lambda each: each["Repaired"]),
    },
)
_FOUND = ("Kind", "Name", "Problem")
_REPAIRED = (*_FOUND, "Result")


def _check(call: Invocation) -> int:
    flags = call.flags
    findings: list[dict[str, Any]] = []
    counts: dict[str, int] = {}

    def take(aux: dict[str, Any]) -> None:
        if "Checked" in aux:
            counts.update(aux["Checked"])
        else:
            findings.append(aux)

    query = {"deep": flags["deep"] or None, "repair": flags["repair"] or None}
    with call.client.request("POST", "/barque/system/check", query=query) as answer:
        show_progress(answer.messages(), sys.stderr, take)
    left = [each for each in findings if not each["Repaired"]]
    default = _REPAIRED if flags["repair"] else _FOUND
    if findings or flags["format"]:
        sys.stdout.write(render(FINDINGS, findings, flags["format"], default))
    if not flags["quiet"]:
        sys.stderr.write(_summarize(counts, findings, left, repair=flags["repair"]))
    return 1 if left else 0


def _summarize(
    counts: dict[str, int],
    findings: list[dict[str, Any]],
    left: list[dict[str, Any]],
    *,
    repair: bool,
) -> str:
    checked = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    text = f"Checked {checked or 'everything: there is nothing'}: "
    if not findings:
        return text + "all is well\n"
    text += f"{len(findings)} {'problem' if len(findings) == 1 else 'problems'} found"
    if repair:
        return f"{text}, {len(findings) - len(left)} repaired, {len(left)} left\n"
    return f"{text}; run it with --repair to mend what can be mended\n"


CHECK = Command(
    "[OPTIONS]",
    _check,
    maximum=0,
    flags=(
        Flag("deep", "bool", "Also read every byte of blobs and layers"),
        Flag("format", "string", "Format findings: 'table', 'json', a Go template"),
        Flag("quiet", "bool", "Print findings only", short="q"),
        Flag("repair", "bool", "Remove what is damaged, make again what can be made again"),
    ),
    description="""Check that what the engine keeps is whole, and that nothing else is there

Exits with 1 if there are problems that were not repaired. The engine goes on meanwhile.""",
)
