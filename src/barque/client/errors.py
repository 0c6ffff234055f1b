"""What can go wrong between the command line and the engine."""

from __future__ import annotations

from barque.errors import BarqueError


class ClientError(BarqueError):
    """Base of the client's errors."""


class ApiError(ClientError):
    """The engine refused a request. ``status`` is HTTP's, ``message`` the engine's own text."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"Error response from daemon: {message}")


class CannotConnect(ClientError):
    """Nothing answers at the endpoint."""


class ConnectionLost(ClientError):
    """The engine closed the connection in the middle of an answer."""
