"""Local development: services, seed data, the dumped schema. Imports chat and is never imported by it."""
