"""A registry of our own: ``barque registry serve``."""
