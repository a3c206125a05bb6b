"""Helpers for all tests: a server, its users and their clients, and stand-ins for what is around it."""
