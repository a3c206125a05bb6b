"""Messages, commands and drafts, whatever happens to the connection."""

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.browser_user import (
    ACK,
    ERROR,
    MESSAGE,
    OFFLINE,
    RESUMED,
    BrowserUser,
    BrowserUsers,
    SocketInterceptor,
)
from tests.support.names import unique


async def test_two_users_chat_through_reloads_and_a_server_restart(users: BrowserUsers) -> None:
    """Sign up, chat both ways, ask the bot, reload, restart the server while one is typing, log out."""
    room = await (await users.chat.sign_up("host")).creates(name := unique("story"))
    pair = [await users.at_login(), await users.at_login()]
    for user in pair:
        user.expects_errors(OFFLINE)
    names = [await user.signs_up("teller") for user in pair]
    ada, ben = pair
    for user in pair:
        await user.page.goto(f"{user.url}/#/rooms/{room}")
        await user.is_in(name)
        await user["#join"].click()
        await expect(user.box).to_be_focused()
    await ada.says("Hello, Ben")
    await ben.sees("Hello, Ben")
    await ben.says("Hello, Ada\nhow are you?")
    await ada.sees("Hello, Ada\nhow are you?")
    await expect(ben["li.own .bubble"]).to_have_text(["Hello, Ada\nhow are you?"])
    await expect(ada["li:not(.own) .name"]).to_have_text([names[1]])

    await ada.says("/stock=aapl.us")
    await ben.sees("/stock=aapl.us")
    for user in pair:
        await expect(user["li.bot .bubble"]).to_have_text("AAPL.US quote is $93.42 per share")
        await expect(user["li.bot .tag"]).to_have_text("bot")

    await ben.page.reload()
    await ben.is_in(name)
    for text in ("Hello, Ben", "Hello, Ada\nhow are you?", "AAPL.US quote is $93.42 per share"):
        await ben.sees(text)

    await ben.box.fill("unfinished")
    await users.server.kill()
    for number in range(3):
        await ada.says(f"written offline {number}")
    await expect(ada["li.own .state"]).to_have_text(["Sending…"] * 3)
    await expect(ada["#banner"]).to_contain_text("cannot be reached")
    await expect(ada["#connection-state"]).to_have_text("Offline")
    await ben.box.press("End")
    await ben.box.press_sequentially(" but not lost")
    await users.server.start()
    for user in pair:
        for number in range(3):
            await user.sees(f"written offline {number}")
        await expect(user["#banner"]).to_be_hidden()
        await expect(user["#connection-state"]).to_have_text("Online")
    await expect(ada["li.own .state"]).to_have_count(0)
    await ben.box.press("Enter")
    for user in pair:
        await user.sees("unfinished but not lost")
        said = [text for text in await user.texts() if not text.startswith("/")]
        assert len(said) == len(set(said)) == 7
    await ada["#log-out"].click()
    await expect(ada["#login-form"]).to_be_visible()


async def test_a_message_is_pending_then_sent_then_part_of_the_log(users: BrowserUsers) -> None:
    """The ack and the event come in either order."""
    for first, second in ((ACK, MESSAGE), (MESSAGE, ACK)):
        user = await users.logged_in()
        socket = await SocketInterceptor.install(user)
        await user.opens()
        socket.holding = {MESSAGE, ACK}
        text = unique()
        await user.says(text)
        await user.sees(text)
        await expect(user["li.in-flight .state"]).to_have_text("Sending…")
        held = {int(re.findall(r'"type":(\d+)', frame)[0]): frame for frame in await socket.wait_until_held(2)}
        socket.held.clear()
        socket.inject(held[first])
        if first == ACK:
            await expect(user["li.sent .state"]).to_have_text("Sent")
        else:
            await expect(user["li.own .state"]).to_have_count(0)
        socket.inject(held[second])
        await expect(user["li.own .state"]).to_have_count(0)
        await user.sees(text)


async def says_in_vain(user: BrowserUser, socket: SocketInterceptor, text: str) -> str:
    """Send a message that does not reach the server. Return its requestId."""
    socket.drops_sent = True
    await user.says(text)
    await expect(user["li.in-flight"]).to_have_count(1)
    return str((await socket.wait_until_sent(text))["requestId"])


async def test_a_command_is_shown_once_in_either_order(users: BrowserUsers) -> None:
    for kind in (MESSAGE, ACK):
        user = await users.logged_in()
        socket = await SocketInterceptor.install(user)
        await user.opens()
        socket.holding = {kind}
        code = unique("/stock=A").replace("-", ".")[:18]
        await user.says(code)
        await user.sees(code)
        await expect(user["li.own .state"]).to_have_count(0)
        await socket.wait_until_held(1)
        socket.release()
        await expect(user["li.bot .bubble"].last).to_be_visible()
        await user.sees(code)


async def test_a_refused_message_offers_retry_with_the_same_id_and_discard(users: BrowserUsers) -> None:
    user = await users.logged_in()
    socket = await SocketInterceptor.install(user)
    await user.opens()
    request_id = await says_in_vain(user, socket, text := unique())
    socket.inject(
        {"type": ERROR, "code": "unavailable", "chatmessage": "too busy", "requestId": request_id, "chatroomId": 1}
    )
    await expect(user["li.failed .state"]).to_contain_text("Not sent. Too busy.")
    socket.drops_sent = False
    await user["li.failed"].get_by_role("button", name="Retry").click()
    await expect(user["li.own .state"]).to_have_count(0)
    assert [frame["requestId"] for frame in socket.sent_messages(text)] == [request_id] * 2
    await user.sees(text)
    await user.page.reload()
    await user.sees(text)

    request_id = await says_in_vain(user, socket, "never mind")
    socket.inject({"type": ERROR, "code": "busy", "chatmessage": "no", "requestId": request_id, "chatroomId": 1})
    await user["li.failed"].get_by_role("button", name="Discard").click()
    await expect(user.message("never mind")).to_have_count(0)
    await expect(user.box).to_be_focused()


async def test_unsent_messages_survive_a_reload(users: BrowserUsers) -> None:
    user = await users.logged_in()
    socket = await SocketInterceptor.install(user)
    await user.opens()
    socket.drops_sent = True
    text = unique()
    await user.says(text)
    await expect(user["li.in-flight"]).to_have_count(1)
    await user.page.reload()
    await user.sees(text)
    await expect(user["li.own .state"]).to_have_count(0)


@pytest.mark.parametrize("code", ["unknown", "rate_limited"])
async def test_a_message_is_repeated_if_it_may_be_stored_or_came_too_fast(users: BrowserUsers, code: str) -> None:
    user = await users.logged_in()
    socket = await SocketInterceptor.install(user)
    await user.opens()
    request_id = await says_in_vain(user, socket, text := unique())
    socket.drops_sent = False
    socket.inject(
        {"type": ERROR, "code": code, "chatmessage": "?", "requestId": request_id, "retryMs": 50, "chatroomId": 1}
    )
    await expect(user["li.own .state"]).to_have_count(0)
    assert [frame["requestId"] for frame in socket.sent_messages(text)] == [request_id] * 2


async def test_without_an_answer_the_connection_is_given_up(users: BrowserUsers) -> None:
    user = await users.logged_in()
    socket = await SocketInterceptor.install(user)
    await user.page.clock.install()
    await user.opens()
    text = unique()
    socket.holding = set(range(100))  # any frame would show that the connection works
    await user.says(text)
    await socket.wait_until_held_types({MESSAGE, ACK})
    await user.page.clock.fast_forward(13_000)
    socket.forget()
    await expect(user["li.own .state"]).to_have_count(0)
    await user.sees(text)
    # The new connection resumed the room, which brought the event, or the message was sent again with the same id.
    assert len({frame["requestId"] for frame in socket.sent_messages(text)}) == 1
    assert len([frame for frame in socket.sent if frame["type"] == RESUMED and frame["chatroomId"] == 1]) == 2


async def test_a_gap_that_was_not_replayed_is_read(users: BrowserUsers) -> None:
    host = await users.chat.sign_up("host")
    room = await host.creates()
    user = await users.logged_in(person=host)
    socket = await SocketInterceptor.install(user)
    await user.opens(f"/#/rooms/{room}")
    await user.says("before")
    await user.sees("before")
    socket.holding = {MESSAGE, RESUMED}
    for number in range(4):
        await host.posts(f"missed {number}", room)
    last = (await socket.wait_until_held(4))[-1]
    socket.held.clear()
    seq = int(re.findall(r'"seq":(\d+)', last)[0])
    socket.inject({"type": RESUMED, "chatroomId": room, "from": seq - 3, "to": seq, "complete": False})
    for number in range(4):
        await user.sees(f"missed {number}")
    assert (await user.texts())[-4:] == [f"missed {number}" for number in range(4)]
    # An event whose number is too high shows a gap, too.
    await host.posts("skipped", room)
    await socket.wait_until_held(1)
    socket.forget()
    await host.posts("seen", room)
    await user.sees("seen")
    assert (await user.texts())[-2:] == ["skipped", "seen"]


async def test_drafts_survive_a_switch_and_a_reload(users: BrowserUsers) -> None:
    user = await users.in_chat()
    await user.box.fill("for General")
    await user.room("Random").click()
    await user.is_in("Random")
    await expect(user.box).to_have_value("")
    await user.box.fill("for Random\nin two lines")
    await user.room("General").click()
    await expect(user.box).to_have_value("for General")
    await user.page.reload()
    await expect(user.box).to_have_value("for General")
    await user.room("Random").click()
    await expect(user.box).to_have_value("for Random\nin two lines")
    await user.box.press("Enter")
    await expect(user.box).to_have_value("")


async def test_enter_sends_and_shift_enter_breaks_the_line(users: BrowserUsers) -> None:
    user = await users.in_chat()
    first = unique()
    await user.box.press_sequentially(first)
    height: int = await user.box.evaluate("node => node.offsetHeight")
    await user.box.press("Shift+Enter")
    await user.box.press_sequentially("second")
    assert await user.box.evaluate("node => node.offsetHeight") > height
    await user.box.press("Enter")
    await user.sees(f"{first}\nsecond")
    await user.says("   ")
    await user.box.fill("x" * 4001)
    await expect(user["#composer-hint"]).to_have_text("The message is 1 character too long.")
    await user.box.press("Enter")
    await expect(user.box).to_have_value("x" * 4001)


async def test_a_slash_offers_the_commands(users: BrowserUsers) -> None:
    user = await users.in_chat()
    await user.box.press_sequentially("/s")
    await expect(user["#suggestions [aria-selected=true]"]).to_contain_text("/stock=CODE")
    await expect(user.box).to_have_attribute("aria-activedescendant", "suggestion-0")
    await user.box.press("Escape")
    await expect(user["#suggestions"]).to_be_hidden()
    await user.box.press_sequentially("t")
    await user.box.press("Tab")
    await expect(user.box).to_have_value("/stock=")
    await expect(user["#composer-hint"]).to_contain_text("/stock=CODE")
    await user.box.fill("/weather=Rome")
    await expect(user["#composer-hint"]).to_contain_text("Unknown command. Try /stock=CODE.")
    await user.box.press("Enter")
    await expect(user["li.failed .state"]).to_contain_text("no such command")


MARKUP: list[Any] = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "[click](javascript:alert(1))",
    "data:text/html,<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "&lt;b&gt;not bold&lt;/b&gt;",
]


async def test_markup_is_shown_as_text(users: BrowserUsers) -> None:
    host = await users.chat.sign_up("mallory")
    room = await host.creates(f"<b>{unique()}</b>", "<img src=x onerror=alert(1)>")
    for text in MARKUP:
        await host.posts(text, room)
    user = await users.logged_in(person=host)
    dialogs: list[str] = []
    user.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await user.opens(f"/#/rooms/{room}")
    await expect(user.messages).to_have_text(MARKUP)
    await expect(user["#room-topic"]).to_have_text("<img src=x onerror=alert(1)>")
    await expect(user["#messages :is(img, script, b), .bubble :is(svg, a)"]).to_have_count(0)
    assert not dialogs


async def test_addresses_are_clickable_and_nothing_else_is(users: BrowserUsers) -> None:
    host = await users.chat.sign_up("host")
    room = await host.creates()
    await host.posts("See https://example.com/a_(b)?q=1, (http://example.org/x). Or ftp://example.net!", room)
    user = await users.in_chat(person=host, path=f"/#/rooms/{room}")
    links = user["#messages .bubble a"]
    await expect(links).to_have_text(["https://example.com/a_(b)?q=1", "http://example.org/x"])
    for link in await links.all():
        await expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        await expect(link).to_have_attribute("target", "_blank")


async def test_the_backoff_grows_and_is_random(users: BrowserUsers) -> None:
    user = await users.in_chat()
    bounds: list[list[float]] = await user.page.evaluate(
        "import('/web/connection.js')"
        ".then(({backoffMs}) => [0, 1, 2, 3, 20].map(n => [backoffMs(n, 0), backoffMs(n, 1)]))"
    )
    assert bounds == [[500, 1000], [1000, 2000], [2000, 4000], [4000, 8000], [15000, 30000]]


async def test_it_reconnects_at_once_when_the_network_is_back(users: BrowserUsers) -> None:
    user = await users.in_chat()
    user.expects_errors(OFFLINE)
    await users.server.kill()
    await expect(user["#connection-state"]).to_have_text("Offline")
    await user.page.clock.install()  # from now on, no backoff ends by itself
    await users.server.start()
    await user.page.evaluate("window.dispatchEvent(new Event('online'))")
    await expect(user["#connection-state"]).to_have_text("Online")


async def test_the_connection_is_probed_when_the_browser_says_that_it_is_offline(users: BrowserUsers) -> None:
    """Without a network, a server on the same machine can still be reached."""
    user = await users.in_chat()
    user.expects_errors(OFFLINE)
    await user.page.evaluate("window.dispatchEvent(new Event('offline'))")
    await user.says(text := unique())
    await user.sees(text)
    await expect(user["#connection-state"]).to_have_text("Online")
    await users.server.kill()
    await expect(user["#connection-state"]).not_to_have_text("Online")
    await user.page.context.set_offline(True)
    await expect(user["#banner"]).to_contain_text("You are offline")
    await users.server.start()
    await user.page.context.set_offline(False)
    await expect(user["#connection-state"]).to_have_text("Online")
    await expect(user["#banner"]).to_be_hidden()
