"""Passwords and tokens: who somebody is."""
