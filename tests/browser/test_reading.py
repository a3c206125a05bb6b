"""Reading: what came before, what comes now, and where the reader stands."""

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Crowd, Line, Visitor

STEP = 600  # pixels

# Where the first row in sight is, and which it is.
LOOKED_AT = """() => {
    const edge = document.getElementById("scroller").getBoundingClientRect().top + 5;
    const rows = [...document.querySelectorAll("#messages > li")];
    const row = rows.find(row => row.getBoundingClientRect().bottom > edge);
    return [row.dataset.key, row.getBoundingClientRect().top];
}"""


async def filled(crowd: Crowd, messages: int, days: int = 1, **options: Any) -> tuple[Visitor, int]:
    """Somebody in a room of his own with a long conversation, and its id."""
    host = await crowd.chat.sign_up("reader")
    room = await host.creates()
    crowd.house.fill(room, host.id, messages, days)
    return await crowd.guest(person=host, path=f"/#/rooms/{room}", **options), room


async def test_older_messages_come_while_scrolling_up_without_a_jump(crowd: Crowd) -> None:
    visitor, _ = await filled(crowd, 240)
    await expect(visitor["#messages > li"].last).to_contain_text("message 240")
    before = await visitor.page.evaluate(LOOKED_AT)
    for _ in range(200):
        await visitor.scrolls(-STEP)
        key, top = await visitor.page.evaluate(LOOKED_AT)
        moved = await visitor.page.evaluate(
            "key => document.querySelector(`[data-key='${key}']`)?.getBoundingClientRect().top", before[0]
        )
        if moved is not None:  # what was looked at has moved as far as the wheel did, and no further
            assert moved - before[1] <= STEP + 1, "it jumped"
        before = [key, top]
        if await visitor.scroll_top() == 0 and await visitor["#top"].text_content() != "Loading older messages…":
            break
    await expect(visitor["#top"]).to_contain_text("This is the beginning of")
    await expect(visitor["#messages .happened"]).to_contain_text("created")


@pytest.mark.timing
async def test_five_thousand_messages_keep_the_document_small_and_the_scrolling_smooth(crowd: Crowd) -> None:
    visitor, room = await filled(crowd, 5000)
    assert visitor.person
    await visitor.sees("message 4998" + " and more" * (4998 % 17))
    # All of it through the page, up to the beginning.
    scroll = """async () => {
        const scroller = document.getElementById("scroller"), list = document.getElementById("messages");
        const work = [], keys = new Set();
        let rows = 0, still = 0;
        while (still < 20) {
            const before = scroller.scrollTop;
            const first = list.firstElementChild.dataset.key;
            const begin = performance.now();
            scroller.scrollTop -= 3000;
            scroller.dispatchEvent(new Event("scroll"));  // all that the page does about it, layout included
            work.push(performance.now() - begin);
            await new Promise(requestAnimationFrame);
            rows = Math.max(rows, list.childElementCount);
            for (const node of list.children) keys.add(node.dataset.key);
            still = scroller.scrollTop === before && list.firstElementChild.dataset.key === first ? still + 1 : 0;
        }
        work.sort((a, b) => a - b);
        return {rows, keys: keys.size, median: work[work.length >> 1]};
    }"""
    result = await visitor.page.evaluate(scroll)
    assert result["rows"] <= 240
    assert result["keys"] == 5001, "each of them was in the document at some time"
    assert result["median"] < 17, "milliseconds: a frame"
    await visitor["#pill"].click()
    await expect(visitor["#messages > li"].last).to_contain_text("message 5000")
    assert await visitor.page.evaluate("document.querySelectorAll('*').length") < 3000
    await visitor.person.posts("and one more", room)
    await visitor.sees("and one more")


async def test_a_reader_who_is_not_at_the_end_stays_where_he_is_and_is_told(crowd: Crowd) -> None:
    visitor, room = await filled(crowd, 200)
    host = await crowd.chat.sign_up("speaker")
    await expect(visitor["#pill"]).to_be_hidden()
    await visitor.scrolls(-900)
    await expect(visitor["#pill-text"]).to_have_text("To the latest")
    before = await visitor.page.evaluate(LOOKED_AT)
    await host.posts("one", room)
    await expect(visitor["#pill-text"]).to_have_text("1 new message")
    for text in ("two", "three"):
        await host.posts(text, room)
    await expect(visitor["#pill-text"]).to_have_text("3 new messages")
    assert await visitor.page.evaluate(LOOKED_AT) == before
    await expect(visitor.page).to_have_title(re.compile(r"^\(3\)"))
    await visitor["#pill"].click()
    await expect(visitor["#pill"]).to_be_hidden()
    await expect(visitor.message("three")).to_be_in_viewport()
    await expect(visitor.page).to_have_title(re.compile(r"^reader|^room"))
    await host.posts("four", room)
    await expect(visitor.message("four")).to_be_in_viewport()
    await visitor.scrolls(-900)
    await visitor.says("I speak")  # who speaks wants to see it
    await expect(visitor.message("I speak")).to_be_in_viewport()


async def test_days_have_lines_and_a_minute_of_one_author_one_head(crowd: Crowd) -> None:
    visitor, room = await filled(crowd, 40, days=4)
    await expect(visitor["#messages .day"].first).to_have_text(re.compile(r"^\w+day,? \d+ \w+ \d+$"))
    await expect(visitor["#messages .day"].last).to_have_text("Today")
    await expect(visitor["#messages .day"].nth(-2)).to_have_text("Yesterday")
    speaker = await crowd.chat.sign_up("speaker")
    await visitor.page.clock.install()
    for text in ("a", "b", "c"):
        await speaker.posts(text, room)
    await visitor.sees("c")
    assert await visitor["li:not(.own) .by time"].count() in (1, 2)  # two, if a minute has just ended
    await expect(visitor["li:not(.own) .name"].first).to_have_text(speaker.username)
    # The exact time is told on hover.
    title = await visitor.message("b").get_attribute("title")
    assert title and re.search(r"\w+day,? \d+ \w+ \d{4}.* \d\d:\d\d:\d\d", title)


async def test_line_breaks_are_kept_and_long_words_are_broken(crowd: Crowd) -> None:
    visitor, room = await filled(crowd, 1)
    assert visitor.person
    await visitor.person.posts("one\n  two", room)
    await visitor.person.posts("x" * 3000, room)
    await visitor.sees("one\n  two")
    assert await visitor.message("one\n  two").evaluate("node => getComputedStyle(node).whiteSpace") == "pre-wrap"
    await visitor.sees("x" * 3000)
    await visitor.fits()
    assert await visitor["#scroller"].evaluate("node => node.scrollWidth <= node.clientWidth")


async def test_older_messages_that_cannot_be_loaded_can_be_tried_again(crowd: Crowd) -> None:
    host = await crowd.chat.sign_up("reader")
    room = await host.creates()
    crowd.house.fill(room, host.id, 300)
    visitor = await crowd.comes(person=host)
    visitor.forgives("ERR_FAILED")
    await visitor.page.route("**/events?*", lambda route: route.abort())
    await visitor.arrives(f"/#/rooms/{room}")
    await expect(visitor["#top"]).to_contain_text("could not be loaded")
    await visitor.page.unroute("**/events?*")
    await visitor["#top button"].click()
    await expect(visitor["#messages > li"].last).to_contain_text("message 300")


async def test_a_storm_does_not_grow_the_document(crowd: Crowd) -> None:
    visitor = await crowd.comes()
    line = await Line.of(visitor)
    await visitor.arrives("/#/rooms/2")
    room = await visitor.page.evaluate("import('/web/store.js').then(({rooms}) => rooms.get(2).log.last)")
    for number in range(1, 2001):
        line.says(
            {
                "type": 1,
                "chatroomId": 2,
                "seq": room + number,
                "messageNo": 10**6 + number,
                "chatmessage": f"storm {number}",
                "chatuser": "storm@example.com",
                "userId": 0,
                "username": "storm",
                "createdAt": "2026-01-01T00:00:00Z",
            }
        )
    await visitor.sees("storm 2000")
    assert await visitor["#messages > li"].count() <= 240
