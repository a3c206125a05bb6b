"""Tools for local development: services, seed data, the schema dump. Imports chat, which never imports it."""
