"""Pure data: specs, API objects, wire messages."""
