"""The composition root: configuration, wiring, sockets, signals."""
