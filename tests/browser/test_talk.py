"""Saying things, and being heard whatever happens to the wire."""

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.actors import unique
from tests.browser.visitor import OFFLINE, Crowd, Line, Visitor


async def test_two_people_chat_through_everything_that_may_happen(crowd: Crowd) -> None:
    """Sign up, chat both ways, the robot, a reload, a server that restarts in the middle of typing, log out."""
    room = await (await crowd.chat.sign_up("host")).creates(name := unique("story"))
    people = [await crowd.stranger(), await crowd.stranger()]
    for visitor in people:
        visitor.forgives(OFFLINE)
    names = [await visitor.signs_up("teller") for visitor in people]
    ada, ben = people
    for visitor in people:
        await visitor.page.goto(f"{visitor.url}/#/rooms/{room}")
        await visitor.is_in(name)
        await visitor["#join"].click()
        await expect(visitor.box).to_be_focused()
    await ada.says("Hello, Ben")
    await ben.sees("Hello, Ben")
    await ben.says("Hello, Ada\nhow are you?")
    await ada.sees("Hello, Ada\nhow are you?")
    await expect(ben["li.own .bubble"]).to_have_text(["Hello, Ada\nhow are you?"])
    await expect(ada["li:not(.own) .name"]).to_have_text([names[1]])

    await ada.says("/stock=aapl.us")
    await ben.sees("/stock=aapl.us")
    for visitor in people:
        await expect(visitor["li.bot .bubble"]).to_have_text("AAPL.US quote is $93.42 per share")
        await expect(visitor["li.bot .tag"]).to_have_text("bot")

    await ben.page.reload()
    await ben.is_in(name)
    for text in ("Hello, Ben", "Hello, Ada\nhow are you?", "AAPL.US quote is $93.42 per share"):
        await ben.sees(text)

    await ben.box.fill("unfinished")
    await crowd.house.falls()
    for number in range(3):
        await ada.says(f"into the dark {number}")
    await expect(ada["li.own .state"]).to_have_text(["Sending…"] * 3)
    await expect(ada["#banner"]).to_contain_text("cannot be reached")
    await expect(ada["#connection-state"]).to_have_text("Offline")
    await ben.box.press("End")
    await ben.box.press_sequentially(" but not lost")
    await crowd.house.opens()
    for visitor in people:
        for number in range(3):
            await visitor.sees(f"into the dark {number}")
        await expect(visitor["#banner"]).to_be_hidden()
        await expect(visitor["#connection-state"]).to_have_text("Online")
    await expect(ada["li.own .state"]).to_have_count(0)
    await ben.box.press("Enter")
    for visitor in people:
        await visitor.sees("unfinished but not lost")
        said = [text for text in await visitor.texts() if not text.startswith("/")]
        assert len(said) == len(set(said)) == 7
    await ada["#log-out"].click()
    await expect(ada["#login-form"]).to_be_visible()


async def test_a_message_is_pending_then_sent_then_part_of_the_log(crowd: Crowd) -> None:
    """Ack and echo come in either order."""
    for first, second in ((13, 1), (1, 13)):
        visitor = await crowd.comes()
        line = await Line.of(visitor)
        await visitor.arrives()
        line.holding = {1, 13}
        text = unique()
        await visitor.says(text)
        await visitor.sees(text)
        await expect(visitor["li.in-flight .state"]).to_have_text("Sending…")
        held = {int(re.findall(r'"type":(\d+)', frame)[0]): frame for frame in await frames(line, 2)}
        line.held.clear()
        line.says(held[first])
        if first == 13:
            await expect(visitor["li.sent .state"]).to_have_text("Sent")
        else:
            await expect(visitor["li.own .state"]).to_have_count(0)
        line.says(held[second])
        await expect(visitor["li.own .state"]).to_have_count(0)
        await visitor.sees(text)


async def frames(line: Line, number: int) -> list[str]:
    """The held frames, when there are so many."""
    async with asyncio.timeout(5):
        while len(line.held) < number:
            await asyncio.sleep(0.01)
    return line.held


async def unheard(visitor: Visitor, line: Line, text: str) -> str:
    """Says what does not reach the server; its clientId."""
    await visitor.says(text)
    await expect(visitor["li.in-flight"]).to_have_count(1)
    async with asyncio.timeout(5):
        while not line.said(text):
            await asyncio.sleep(0.01)
    return str(line.said(text)[0]["clientId"])


async def test_a_command_is_shown_once_in_either_order(crowd: Crowd) -> None:
    for kind in (1, 13):
        visitor = await crowd.comes()
        line = await Line.of(visitor)
        await visitor.arrives()
        line.holding = {kind}
        code = unique("/stock=A").replace("-", ".")[:18]
        await visitor.says(code)
        await visitor.sees(code)
        await expect(visitor["li.own .state"]).to_have_count(0)
        await frames(line, 1)
        line.lets_go()
        await expect(visitor["li.bot .bubble"].last).to_be_visible()
        await visitor.sees(code)


async def test_a_refused_message_offers_retry_with_the_same_id_and_discard(crowd: Crowd) -> None:
    visitor = await crowd.comes()
    line = await Line.of(visitor)
    await visitor.arrives()
    line.deaf = True
    client_id = await unheard(visitor, line, text := unique())
    line.says({"type": 14, "code": "unavailable", "chatmessage": "too busy", "clientId": client_id, "chatroomId": 1})
    await expect(visitor["li.failed .state"]).to_contain_text("Not sent. Too busy.")
    line.deaf = False
    await visitor["li.failed"].get_by_role("button", name="Retry").click()
    await expect(visitor["li.own .state"]).to_have_count(0)
    assert [frame["clientId"] for frame in line.said(text)] == [client_id] * 2
    await visitor.sees(text)
    await visitor.page.reload()
    await visitor.sees(text)

    line.deaf = True
    client_id = await unheard(visitor, line, "never mind")
    line.says({"type": 14, "code": "busy", "chatmessage": "no", "clientId": client_id, "chatroomId": 1})
    await visitor["li.failed"].get_by_role("button", name="Discard").click()
    await expect(visitor.message("never mind")).to_have_count(0)
    await expect(visitor.box).to_be_focused()


async def test_unsent_messages_survive_a_reload(crowd: Crowd) -> None:
    visitor = await crowd.comes()
    line = await Line.of(visitor)
    await visitor.arrives()
    line.deaf = True
    text = unique()
    await visitor.says(text)
    await expect(visitor["li.in-flight"]).to_have_count(1)
    await visitor.page.reload()
    await visitor.sees(text)
    await expect(visitor["li.own .state"]).to_have_count(0)


@pytest.mark.parametrize("code", ["unknown", "rate_limited"])
async def test_what_may_have_been_stored_or_came_too_fast_is_repeated_by_itself(crowd: Crowd, code: str) -> None:
    visitor = await crowd.comes()
    line = await Line.of(visitor)
    await visitor.arrives()
    line.deaf = True
    client_id = await unheard(visitor, line, text := unique())
    line.deaf = False
    line.says({"type": 14, "code": code, "chatmessage": "?", "clientId": client_id, "retryMs": 50, "chatroomId": 1})
    await expect(visitor["li.own .state"]).to_have_count(0)
    assert [frame["clientId"] for frame in line.said(text)] == [client_id] * 2


async def test_an_answer_that_never_comes_is_a_broken_connection(crowd: Crowd) -> None:
    visitor = await crowd.comes()
    line = await Line.of(visitor)
    await visitor.page.clock.install()
    await visitor.arrives()
    text = unique()
    line.holding = {1, 13}
    await visitor.says(text)
    await frames(line, 2)
    line.held.clear()
    line.holding.clear()
    await visitor.page.clock.fast_forward(13_000)
    await expect(visitor["li.own .state"]).to_have_count(0)
    await visitor.sees(text)
    # The new connection resumed the room, which brought the echo; or else the message went out again, as the same.
    assert len({frame["clientId"] for frame in line.said(text)}) == 1
    assert len([frame for frame in line.sent if frame["type"] == 11 and frame["chatroomId"] == 1]) == 2


async def test_a_gap_too_long_to_be_replayed_is_read_and_nothing_is_missing(crowd: Crowd) -> None:
    host = await crowd.chat.sign_up("host")
    room = await host.creates()
    visitor = await crowd.comes(person=host)
    line = await Line.of(visitor)
    await visitor.arrives(f"/#/rooms/{room}")
    await visitor.says("before")
    await visitor.sees("before")
    line.holding = {1, 11}
    for number in range(4):
        await host.posts(f"missed {number}", room)
    last = (await frames(line, 4))[-1]
    line.held.clear()
    seq = int(re.findall(r'"seq":(\d+)', last)[0])
    line.says({"type": 11, "chatroomId": room, "from": seq - 3, "to": seq, "complete": False})
    for number in range(4):
        await visitor.sees(f"missed {number}")
    assert (await visitor.texts())[-4:] == [f"missed {number}" for number in range(4)]
    # A number too far ahead shows that something is missing, too.
    await host.posts("skipped", room)
    (await frames(line, 1)).clear()
    line.holding.clear()
    await host.posts("seen", room)
    await visitor.sees("seen")
    assert (await visitor.texts())[-2:] == ["skipped", "seen"]


async def test_drafts_survive_a_switch_and_a_reload(crowd: Crowd) -> None:
    visitor = await crowd.guest()
    await visitor.box.fill("for General")
    await visitor.room("Random").click()
    await visitor.is_in("Random")
    await expect(visitor.box).to_have_value("")
    await visitor.box.fill("for Random\nin two lines")
    await visitor.room("General").click()
    await expect(visitor.box).to_have_value("for General")
    await visitor.page.reload()
    await expect(visitor.box).to_have_value("for General")
    await visitor.room("Random").click()
    await expect(visitor.box).to_have_value("for Random\nin two lines")
    await visitor.box.press("Enter")
    await expect(visitor.box).to_have_value("")


async def test_enter_sends_and_shift_enter_breaks_the_line(crowd: Crowd) -> None:
    visitor = await crowd.guest()
    first = unique()
    await visitor.box.press_sequentially(first)
    height: int = await visitor.box.evaluate("node => node.offsetHeight")
    await visitor.box.press("Shift+Enter")
    await visitor.box.press_sequentially("second")
    assert await visitor.box.evaluate("node => node.offsetHeight") > height
    await visitor.box.press("Enter")
    await visitor.sees(f"{first}\nsecond")
    await visitor.says("   ")
    await visitor.box.fill("x" * 4001)
    await expect(visitor["#composer-hint"]).to_have_text("Too long by 1 character")
    await visitor.box.press("Enter")
    await expect(visitor.box).to_have_value("x" * 4001)


async def test_a_slash_offers_the_commands(crowd: Crowd) -> None:
    visitor = await crowd.guest()
    await visitor.box.press_sequentially("/s")
    await expect(visitor["#suggestions [aria-selected=true]"]).to_contain_text("/stock=CODE")
    await expect(visitor.box).to_have_attribute("aria-activedescendant", "suggestion-0")
    await visitor.box.press("Escape")
    await expect(visitor["#suggestions"]).to_be_hidden()
    await visitor.box.press_sequentially("t")
    await visitor.box.press("Tab")
    await expect(visitor.box).to_have_value("/stock=")
    await expect(visitor["#composer-hint"]).to_contain_text("/stock=CODE")
    await visitor.box.fill("/weather=Rome")
    await expect(visitor["#composer-hint"]).to_contain_text("There is no such command. Known: /stock=CODE")
    await visitor.box.press("Enter")
    await expect(visitor["li.failed .state"]).to_contain_text("no such command")


EVIL: list[Any] = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "[click](javascript:alert(1))",
    "data:text/html,<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "&lt;b&gt;not bold&lt;/b&gt;",
]


async def test_whatever_people_write_is_shown_as_text(crowd: Crowd) -> None:
    host = await crowd.chat.sign_up("mallory")
    room = await host.creates(f"<b>{unique()}</b>", "<img src=x onerror=alert(1)>")
    for text in EVIL:
        await host.posts(text, room)
    visitor = await crowd.comes(person=host)
    dialogs: list[str] = []
    visitor.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await visitor.arrives(f"/#/rooms/{room}")
    await expect(visitor.messages).to_have_text(EVIL)
    await expect(visitor["#room-topic"]).to_have_text("<img src=x onerror=alert(1)>")
    await expect(visitor["#messages :is(img, script, b), .bubble :is(svg, a)"]).to_have_count(0)
    assert not dialogs


async def test_addresses_are_clickable_and_nothing_else_is(crowd: Crowd) -> None:
    host = await crowd.chat.sign_up("host")
    room = await host.creates()
    await host.posts("See https://example.com/a_(b)?q=1, (http://example.org/x). Or ftp://example.net!", room)
    visitor = await crowd.guest(person=host, path=f"/#/rooms/{room}")
    links = visitor["#messages .bubble a"]
    await expect(links).to_have_text(["https://example.com/a_(b)?q=1", "http://example.org/x"])
    for link in await links.all():
        await expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        await expect(link).to_have_attribute("target", "_blank")


async def test_the_pauses_between_tries_grow_and_are_random(crowd: Crowd) -> None:
    visitor = await crowd.guest()
    bounds: list[list[float]] = await visitor.page.evaluate(
        "import('/web/connection.js').then(({backoffMs}) => [0, 1, 2, 3, 20].map(n => [backoffMs(n, 0), backoffMs(n, 1)]))"
    )
    assert bounds == [[500, 1000], [1000, 2000], [2000, 4000], [4000, 8000], [15000, 30000]]


async def test_it_comes_back_at_once_when_the_network_does_or_somebody_asks(crowd: Crowd) -> None:
    visitor = await crowd.guest()
    visitor.forgives(OFFLINE)
    await crowd.house.falls()
    await expect(visitor["#connection-state"]).to_have_text("Offline")
    await visitor.page.clock.install()  # from now on, no pause ends by itself
    await crowd.house.opens()
    await visitor.page.evaluate("window.dispatchEvent(new Event('online'))")
    await expect(visitor["#connection-state"]).to_have_text("Online")


async def test_the_browser_s_word_that_it_is_offline_is_checked(crowd: Crowd) -> None:
    """Without a network, a server on this machine still answers."""
    visitor = await crowd.guest()
    visitor.forgives(OFFLINE)
    await visitor.page.evaluate("window.dispatchEvent(new Event('offline'))")
    await visitor.says(text := unique())
    await visitor.sees(text)
    await expect(visitor["#connection-state"]).to_have_text("Online")
    await crowd.house.falls()
    await expect(visitor["#connection-state"]).not_to_have_text("Online")
    await visitor.page.context.set_offline(True)
    await expect(visitor["#banner"]).to_contain_text("You are offline")
    await crowd.house.opens()
    await visitor.page.context.set_offline(False)
    await expect(visitor["#connection-state"]).to_have_text("Online")
    await expect(visitor["#banner"]).to_be_hidden()
