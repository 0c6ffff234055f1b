"""What is said to an engine that lacks something."""

from __future__ import annotations

from barque.daemon.surroundings import Missing, explain

MISSING = [
    Missing("the capability CAP_SYS_ADMIN", "--cap-add SYS_ADMIN"),
    Missing("the system call pivot_root", "--security-opt seccomp=unconfined"),
    Missing("the system call clone3", "--security-opt seccomp=unconfined"),
]


def test_in_a_container_the_flags_are_named_once() -> None:
    assert explain(MISSING, inside=True) == (
        "an engine cannot work in this container, for it lacks:\n"
        "  the capability CAP_SYS_ADMIN\n"
        "  the system call pivot_root\n"
        "  the system call clone3\n"
        "start the container with --privileged, or with --cap-add SYS_ADMIN "
        "--security-opt seccomp=unconfined"
    )


def test_elsewhere_no_flag_would_help() -> None:
    text = explain(MISSING, inside=False)
    assert "CAP_SYS_ADMIN" in text
    assert "--cap-add" not in text
