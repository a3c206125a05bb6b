"""Every address of the server, and what is around each handler."""
