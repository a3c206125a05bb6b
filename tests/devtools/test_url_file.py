"""devtools/url_file.py: what a private server remembers of its URLs."""

import stat
from pathlib import Path

from devtools.url_file import UrlFile

FIRST, SECOND, THIRD = (f"amqp://chat:secret@127.0.0.1:{port}/" for port in (5672, 5673, 5674))


def test_a_url_is_read_back_and_its_predecessors_are_known(tmp_path: Path) -> None:
    url = UrlFile(tmp_path)
    assert url.read() == ""
    assert not url.has_had("") and not url.has_had(FIRST)
    for each in (FIRST, SECOND, SECOND, THIRD):
        url.write(each)
        assert url.read() == UrlFile(tmp_path).read() == each
    assert all(url.has_had(each) for each in (FIRST, SECOND, THIRD))


def test_a_url_that_differs_in_any_part_is_another(tmp_path: Path) -> None:
    url = UrlFile(tmp_path)
    url.write(FIRST)
    url.write(SECOND)
    for changed in (("chat:", "them:"), ("secret", "guess"), ("5672", "5675"), ("127.0.0.1", "localhost"), ("/", "/v")):
        assert not url.has_had(changed[1].join(FIRST.rsplit(changed[0], 1)))


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    url = UrlFile(tmp_path)
    url.write(FIRST)
    url.write(SECOND)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
