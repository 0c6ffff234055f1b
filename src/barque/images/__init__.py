"""Images: references, archives, layers."""
