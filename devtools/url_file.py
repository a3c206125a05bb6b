"""The URL of a private server, and those that it had before, in files that only their owner may read.

folder/url          the URL, with the password
folder/former-urls  those on other ports, one a line: another program had the port when the server was started
"""

from pathlib import Path


class UrlFile:
    """The URL of the private server in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "url"
        self._former = folder / "former-urls"

    def exists(self) -> bool:
        return self.path.exists()

    def read(self) -> str:
        """The URL; "" before the first start."""
        return self.path.read_text().strip() if self.path.exists() else ""

    def has_had(self, url: str) -> bool:
        """Whether this is or was the URL. The password in it is random, so that nobody writes it by chance."""
        former = self._former.read_text().split() if self._former.exists() else []
        return bool(url) and url in (self.read(), *former)

    def write(self, url: str) -> None:
        """Replace the URL. The previous one is added to the former ones first, so that a crash forgets none."""
        previous = self.read()
        if previous == url:
            return
        if previous:
            self._former.touch(mode=0o600)
            with self._former.open("a") as file:
                file.write(f"{previous}\n")
        self.path.touch(mode=0o600)
        self.path.write_text(f"{url}\n")
