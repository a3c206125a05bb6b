"""chat/domain/rooms.py: lists that are asked for all the time leave the database to everybody else."""

import asyncio
from typing import Any, cast

from chat.db.pool import Database
from chat.domain.rooms import RoomCursor, RoomDirectory


class SlowDatabase:
    """Answers with an empty page, one tick later, and counts.

    most: how many queries ran at the same time, at most
    """

    def __init__(self) -> None:
        self.users: list[int] = []
        self.running = self.most = 0

    async def fetch_one(self, name: str, row: Any, /, **params: Any) -> Any:
        self.users.append(params["user_id"])
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return row("[]", False, None, None, 0)


async def test_one_page_is_made_at_a_time_and_equal_requests_share_it() -> None:
    db = SlowDatabase()
    directory = RoomDirectory(cast(Database, db))
    users = [1, 2, 3, 1, 2, 3, 1]
    pages = await asyncio.gather(*(directory.list_page(user, RoomCursor(), 10) for user in users))
    assert {(page.rooms, page.next) for page in pages} == {(b"[]", None)}
    assert sorted(db.users) == [1, 2, 3]
    assert db.most == 1
