"""The Docker Engine API: one module per resource, over aiohttp's low-level server."""
