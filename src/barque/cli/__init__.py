"""The command line: flags to Engine API requests, replies to text."""
