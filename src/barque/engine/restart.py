"""When an exited container is started again, and after how long a wait.

Waits are 100 ms, doubling up to one minute; a run of ten seconds or more sets the wait
back. Source: the Engine API's RestartPolicy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from barque.errors import InvalidArgument
from barque.models.api import RestartPolicy
from barque.models.container import ContainerRecord

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 60.0
GOOD_RUN_S = 10.0


class Policy(Enum):
    """The names of the restart policies."""

    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


def parse_policy(policy: RestartPolicy) -> Policy:
    """Return the policy's name; none given is ``no``. Raises InvalidArgument."""
    try:
        return Policy(policy.name or "no")
    except ValueError:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'"
        ) from None


@dataclass
class Backoff:
    """The wait before the next automatic restart of one container."""

    wait_s: float = 0.0

    def next_wait(self, run_s: float) -> float:
        """Seconds to wait after a run that lasted ``run_s`` monotonic seconds."""
        if run_s >= GOOD_RUN_S or not self.wait_s:
            self.wait_s = FIRST_WAIT_S
        else:
            self.wait_s = min(self.wait_s * 2, LONGEST_WAIT_S)
        return self.wait_s

    def reset(self) -> None:
        """Forget earlier runs: the container was started by hand."""
        self.wait_s = 0.0


def wants_restart(policy: RestartPolicy, exit_code: int, restarts: int) -> bool:
    """Whether the policy starts a container again that ended by itself.

    A container that somebody stopped is not asked for here.
    """
    match parse_policy(policy):
        case Policy.NO:
            return False
        case Policy.ALWAYS | Policy.UNLESS_STOPPED:
            return True
        case Policy.ON_FAILURE:
            most = policy.maximum_retry_count
            return exit_code != 0 and (most == 0 or restarts < most)


def wants_start_with_engine(record: ContainerRecord) -> bool:
    """Whether the policy starts this container, which does not run, when the engine starts."""
    if not record.started_once or record.state.removing or record.state.dead:
        return False
    policy = record.host_config.restart_policy
    if parse_policy(policy) is Policy.UNLESS_STOPPED and record.manually_stopped:
        return False
    return wants_restart(policy, record.state.exit_code, record.restart_count)
