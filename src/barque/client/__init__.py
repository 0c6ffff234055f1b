"""A light Engine API client for the command line."""
