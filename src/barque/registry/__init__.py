"""Registries: the client's side of the distribution-spec, and a server of our own."""
