"""Scrolling, older messages, and how messages look."""

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.browser_user import MESSAGE, BrowserUser, BrowserUsers, SocketInterceptor

STEP_PX = 600
MAX_ROWS = 240
FRAME_MS = 17

# The key and the position of the first row in sight.
FIRST_ROW = """() => {
    const edge = document.getElementById("scroller").getBoundingClientRect().top + 5;
    const rows = [...document.querySelectorAll("#messages > li")];
    const row = rows.find(row => row.getBoundingClientRect().bottom > edge);
    return [row.dataset.key, row.getBoundingClientRect().top];
}"""


async def in_long_room(users: BrowserUsers, messages: int, days: int = 1, **options: Any) -> tuple[BrowserUser, int]:
    """A user in a room of their own with a long conversation, and the room's id."""
    host = await users.chat.sign_up("reader")
    room = await host.creates()
    users.server.insert_messages(room, host.id, messages, days)
    return await users.in_chat(person=host, path=f"/#/rooms/{room}", **options), room


async def test_older_messages_are_loaded_without_a_jump(users: BrowserUsers) -> None:
    user, _ = await in_long_room(users, 240)
    await expect(user["#messages > li"].last).to_contain_text("message 240")
    before = await user.page.evaluate(FIRST_ROW)
    for _ in range(200):
        await user.scrolls(-STEP_PX)
        key, top = await user.page.evaluate(FIRST_ROW)
        moved = await user.page.evaluate(
            "key => document.querySelector(`[data-key='${key}']`)?.getBoundingClientRect().top", before[0]
        )
        if moved is not None:  # the row has moved as far as the wheel, and no further
            assert moved - before[1] <= STEP_PX + 1, "it jumped"
        before = [key, top]
        if await user.scroll_top() == 0 and await user["#top"].text_content() != "Loading older messages…":
            break
    await expect(user["#top"]).to_contain_text("This is the beginning of")
    await expect(user["#messages .event"]).to_contain_text("created")


# Scrolls to the beginning, step by step. Returns {rows: the most in the document at a time, keys: the rows in all,
# median: the milliseconds of work for a step, layout included}.
SCROLL_TO_BEGINNING = """async () => {
    const scroller = document.getElementById("scroller"), list = document.getElementById("messages");
    const work = [], keys = new Set();
    let rows = 0, still = 0;
    while (still < 20) {
        const before = scroller.scrollTop;
        const first = list.firstElementChild.dataset.key;
        const begin = performance.now();
        scroller.scrollTop -= 3000;
        scroller.dispatchEvent(new Event("scroll"));
        work.push(performance.now() - begin);
        await new Promise(requestAnimationFrame);
        rows = Math.max(rows, list.childElementCount);
        for (const node of list.children) keys.add(node.dataset.key);
        still = scroller.scrollTop === before && list.firstElementChild.dataset.key === first ? still + 1 : 0;
    }
    work.sort((a, b) => a - b);
    return {rows, keys: keys.size, median: work[work.length >> 1]};
}"""


async def test_five_thousand_messages_keep_the_document_small(users: BrowserUsers) -> None:
    user, room = await in_long_room(users, 5000)
    assert user.person
    await user.sees("message 4998" + " and more" * (4998 % 17))
    result = await user.page.evaluate(SCROLL_TO_BEGINNING)
    assert result["rows"] <= MAX_ROWS
    assert result["keys"] == 5001, "each message, and the creation of the room, was in the document at some time"
    await user["#pill"].click()
    await expect(user["#messages > li"].last).to_contain_text("message 5000")
    assert await user.page.evaluate("document.querySelectorAll('*').length") < 3000
    await user.person.posts("and one more", room)
    await user.sees("and one more")


@pytest.mark.timing
async def test_scrolling_through_many_messages_is_smooth(users: BrowserUsers) -> None:
    user, _ = await in_long_room(users, 2000)
    await user.sees("message 1998" + " and more" * (1998 % 17))
    result = await user.page.evaluate(SCROLL_TO_BEGINNING)
    assert result["median"] < FRAME_MS


async def test_users_who_read_back_stay_in_place_and_see_what_is_new(users: BrowserUsers) -> None:
    user, room = await in_long_room(users, 200)
    host = await users.chat.sign_up("speaker")
    await expect(user["#pill"]).to_be_hidden()
    await user.scrolls(-900)
    await expect(user["#pill-text"]).to_have_text("Jump to the latest")
    before = await user.page.evaluate(FIRST_ROW)
    await host.posts("one", room)
    await expect(user["#pill-text"]).to_have_text("1 new message")
    for text in ("two", "three"):
        await host.posts(text, room)
    await expect(user["#pill-text"]).to_have_text("3 new messages")
    assert await user.page.evaluate(FIRST_ROW) == before
    await expect(user.page).to_have_title(re.compile(r"^\(3\)"))
    await user["#pill"].click()
    await expect(user["#pill"]).to_be_hidden()
    await expect(user.message("three")).to_be_in_viewport()
    await expect(user.page).to_have_title(re.compile(r"^reader|^room"))
    await host.posts("four", room)
    await expect(user.message("four")).to_be_in_viewport()
    await user.scrolls(-900)
    await user.says("I speak")  # sending a message scrolls to the end
    await expect(user.message("I speak")).to_be_in_viewport()


async def test_days_are_separated_and_messages_grouped_by_author_and_minute(users: BrowserUsers) -> None:
    user, room = await in_long_room(users, 40, days=4)
    await expect(user["#messages .day"].first).to_have_text(re.compile(r"^\w+day,? \d+ \w+ \d+$"))
    await expect(user["#messages .day"].last).to_have_text("Today")
    await expect(user["#messages .day"].nth(-2)).to_have_text("Yesterday")
    speaker = await users.chat.sign_up("speaker")
    await user.page.clock.install()
    for text in ("a", "b", "c"):
        await speaker.posts(text, room)
    await user.sees("c")
    assert await user["li:not(.own) .byline time"].count() in (1, 2)  # two if a minute has just ended
    await expect(user["li:not(.own) .name"].first).to_have_text(speaker.username)
    # The exact time is shown on hover.
    title = await user.message("b").get_attribute("title")
    assert title and re.search(r"\w+day,? \d+ \w+ \d{4}.* \d\d:\d\d:\d\d", title)


async def test_line_breaks_are_kept_and_long_words_are_broken(users: BrowserUsers) -> None:
    user, room = await in_long_room(users, 1)
    assert user.person
    await user.person.posts("one\n  two", room)
    await user.person.posts("x" * 3000, room)
    await user.sees("one\n  two")
    assert await user.message("one\n  two").evaluate("node => getComputedStyle(node).whiteSpace") == "pre-wrap"
    await user.sees("x" * 3000)
    await user.fits()
    assert await user["#scroller"].evaluate("node => node.scrollWidth <= node.clientWidth")


async def test_loading_older_messages_can_be_tried_again(users: BrowserUsers) -> None:
    host = await users.chat.sign_up("reader")
    room = await host.creates()
    users.server.insert_messages(room, host.id, 300)
    user = await users.logged_in(person=host)
    user.expects_errors("ERR_FAILED")
    await user.page.route("**/events?*", lambda route: route.abort())
    await user.opens(f"/#/rooms/{room}")
    await expect(user["#top"]).to_contain_text("could not be loaded")
    await user.page.unroute("**/events?*")
    await user["#top button"].click()
    await expect(user["#messages > li"].last).to_contain_text("message 300")


async def test_many_messages_at_once_do_not_grow_the_document(users: BrowserUsers) -> None:
    user = await users.logged_in()
    socket = await SocketInterceptor.install(user)
    await user.opens("/#/rooms/2")
    room = await user.page.evaluate("import('/web/store.js').then(({rooms}) => rooms.get(2).log.last)")
    for number in range(1, 2001):
        socket.inject(
            {
                "type": MESSAGE,
                "chatroomId": 2,
                "seq": room + number,
                "messageNo": 10**6 + number,
                "chatmessage": f"message {number} of many",
                "chatuser": "busy@example.com",
                "userId": 0,
                "username": "busy",
                "createdAt": "2026-01-01T00:00:00Z",
            }
        )
    await user.sees("message 2000 of many")
    assert await user["#messages > li"].count() <= MAX_ROWS
