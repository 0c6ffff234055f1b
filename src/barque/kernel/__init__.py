"""Thin, typed system calls."""
