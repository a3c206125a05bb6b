"""Names that keep tests apart which share a database."""

from secrets import token_hex


def unique(name: str = "x") -> str:
    """Return a name that no other test has, which begins with `name`."""
    return f"{name}-{token_hex(4)}"
