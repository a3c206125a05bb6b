"""Keyboards, screen readers, small screens, large type, dark colours, and how soon the page is usable."""

import re
from typing import Literal

import pytest
from playwright.async_api import expect

from chat.http.static_files import FILES
from tests.browser.browser_user import ERROR, OFFLINE, BrowserUser, BrowserUsers, SocketInterceptor
from tests.support.names import unique

MAX_PAGE_BYTES = 100 * 1000
MAX_USABLE_MS = 1000


async def test_the_page_is_small_and_asks_only_its_own_server(users: BrowserUsers) -> None:
    assert sum(path.stat().st_size for path in FILES.values()) < MAX_PAGE_BYTES
    user = await users.logged_in()
    requests: list[str] = []
    user.page.on("request", lambda request: requests.append(request.url))
    await user.opens()
    await expect(user["#connection-state"]).to_have_text("Online")
    assert requests and all(address.startswith(user.url) for address in requests)


@pytest.mark.timing
async def test_the_page_is_soon_usable(users: BrowserUsers) -> None:
    user = await users.in_chat()
    await expect(user["#connection-state"]).to_have_text("Online")
    assert await user.page.evaluate("performance.now()") < MAX_USABLE_MS


@pytest.mark.usefixtures("axe")
async def test_axe_finds_no_violation_in_any_view(users: BrowserUsers) -> None:
    """The log-in form with errors, a busy room with every state, members, the room dialog, no room."""

    async def passes(shown_to: BrowserUser, *schemes: Literal["light", "dark"]) -> None:
        for scheme in schemes:
            await shown_to.page.emulate_media(color_scheme=scheme)
            assert await shown_to.axe_violations() == []

    stranger = await users.at_login(bypass_csp=True)  # the page's policy would stop axe-core
    await stranger["#login-switch"].click()
    await stranger["#login-submit"].click()
    await passes(stranger, "light", "dark")

    host = await users.chat.sign_up("host")
    room = await host.creates(unique("busy"), "Everything at once")
    await host.posts("see https://example.com/", room)
    user = await users.logged_in(bypass_csp=True)
    socket = await SocketInterceptor.install(user)
    await user.opens(f"/#/rooms/{room}")
    await user.sees("see https://example.com/")
    await passes(user, "light")
    await user["#join"].click()
    await expect(user["#messages .event"]).to_have_count(2)
    await user.says("/stock=AAPL.US")
    await expect(user["li.bot"]).to_be_visible()
    for text in ("mine", "mine, too"):
        await user.says(text)
        await user.sees(text)
    await expect(user["li.own .state"]).to_have_count(0)
    socket.drops_sent = True
    await user.says("pending")
    await user.says("failed")
    await expect(user["li.in-flight"]).to_have_count(2)
    request_id = socket.sent_messages("failed")[0]["requestId"]
    socket.inject(
        {"type": ERROR, "code": "unavailable", "chatmessage": "no", "requestId": request_id, "chatroomId": room}
    )
    await expect(user["li.failed"]).to_be_visible()
    await (await users.chat.sign_up("speaker")).posts("unread", 1)
    await expect(user.room("General").locator(".count")).to_be_visible()
    await user["#members-button"].click()
    await expect(user["#members-list li"]).to_have_count(2)
    await user.box.press_sequentially("/")
    await expect(user["#suggestions"]).to_be_visible()
    await passes(user, "light", "dark")
    await user["#find-room"].click()
    await user["#create-room .primary"].click()
    await expect(user["#new-name-error"]).to_be_visible()
    await passes(user, "dark")
    await user["#room-dialog-close"].click()
    user.expects_errors("status of 404")
    await user.page.goto(f"{user.url}/#/rooms/99999999")
    await user.is_in("There is no such room")
    await passes(user, "light")


@pytest.mark.usefixtures("axe")
async def test_a_lost_connection_is_shown(users: BrowserUsers) -> None:
    user = await users.logged_in(bypass_csp=True)
    user.expects_errors(OFFLINE)  # also from requests that were under way
    await user.opens()
    await users.server.kill()
    try:
        await expect(user["#banner"]).to_contain_text("The server cannot be reached")
        await expect(user["#composer-hint"]).to_contain_text("when the connection is back")
        await expect(user["#retry-now"]).to_be_visible()
        assert await user.axe_violations() == []
    finally:
        await users.server.start()


async def test_the_keyboard_is_enough(users: BrowserUsers) -> None:
    user = await users.at_login()
    keyboard = user.page.keyboard

    async def tabs_to(selector: str) -> None:
        for _ in range(30):
            if await user[selector].evaluate("node => node === document.activeElement"):
                return
            await keyboard.press("Tab")
        raise AssertionError(f"{selector} cannot be reached with Tab")

    await tabs_to("#login-switch")
    await keyboard.press("Enter")
    name = unique("keys")
    for text in (name, f"{name}@example.com", "correct horse"):
        await keyboard.type(text)
        await keyboard.press("Tab")
    await keyboard.press("Enter")
    await user.is_in("General")
    await expect(user.box).to_be_focused()
    await keyboard.type(text := unique())
    await keyboard.press("Enter")
    await user.sees(text)
    await tabs_to("#rooms a[href$='/2']")
    await keyboard.press("Enter")
    await user.is_in("Random")
    await expect(user.box).to_be_focused()
    await tabs_to("#find-room")
    await keyboard.press("Enter")
    await tabs_to("#new-name")
    await keyboard.type(room := unique("keys"))
    await keyboard.press("Enter")
    await user.is_in(room)
    await tabs_to("#members-button")
    await keyboard.press("Enter")
    await expect(user["#members-title"]).to_be_focused()
    await keyboard.press("Escape")
    await expect(user["#members"]).to_be_hidden()
    await expect(user["#members-button"]).to_be_focused()
    await tabs_to("#scroller")  # so that keys scroll it
    await user.page.reload()
    await user.is_in(room)
    await tabs_to("#log-out")
    await keyboard.press("Enter")
    await expect(user["#login-form"]).to_be_visible()


async def test_new_messages_are_announced(users: BrowserUsers) -> None:
    user = await users.in_chat()
    await expect(user["#announcer"]).to_have_attribute("aria-live", "polite")
    host = await users.chat.sign_up("speaker")
    await host.posts("listen", 1)
    await expect(user["#announcer"]).to_have_text(f"{host.username}: listen")
    await expect(user["#scroller"]).to_have_attribute("aria-label", "Messages in General")


async def on_a_phone(users: BrowserUsers, width: int = 320) -> BrowserUser:
    host = await users.chat.sign_up("a-name-as-long-as-names")
    room = await host.creates(f"A room with a rather long name {unique()}", "And a topic that does not fit at all")
    await host.posts("https://example.com/" + "x" * 200, room)
    await host.posts("words " * 60, room)
    guest = await users.chat.sign_up("guest")
    await guest.joins(room)
    path = f"/#/rooms/{room}"
    return await users.in_chat(person=guest, path=path, viewport={"width": width, "height": 560}, has_touch=True)


async def test_on_320_pixels_the_sidebar_is_a_drawer(users: BrowserUsers) -> None:
    user = await on_a_phone(users)
    await expect(user["li:not(.own) .bubble"]).to_have_count(2)
    await user.fits()
    await expect(user["#sidebar"]).to_be_hidden()
    await user["#menu"].click()
    await expect(user["#sidebar"]).to_be_in_viewport(ratio=1)
    await expect(user["#menu"]).to_have_attribute("aria-expanded", "true")
    await user.page.keyboard.press("Escape")
    await expect(user["#sidebar"]).to_be_hidden()
    await expect(user["#menu"]).to_be_focused()
    await user["#menu"].click()
    await user.room("Random").click()
    await user.is_in("Random")
    await expect(user["#sidebar"]).to_be_hidden()
    await user["#members-button"].click()
    await expect(user["#members"]).to_be_in_viewport(ratio=1)
    await user.fits()
    await user["#members-close"].click()
    await user.box.fill(text := unique())
    await user["#composer .primary"].click()
    await user.sees(text)
    await expect(user["#composer .primary"]).to_be_in_viewport(ratio=1)
    stranger = await users.at_login(viewport={"width": 320, "height": 560})
    await stranger["#login-switch"].click()
    await stranger["#login-submit"].click()
    await stranger.fits()


@pytest.mark.parametrize("width", [1280, 640])
async def test_text_of_twice_the_size_fits(users: BrowserUsers, width: int) -> None:
    user = await on_a_phone(users, width)
    await user["html"].evaluate("node => { node.style.fontSize = '200%' }")
    await user.fits()
    for selector in ("#message", "#composer .primary", "#members-button"):
        await expect(user[selector]).to_be_in_viewport(ratio=1)
    await expect(user["li .bubble"].last).to_be_in_viewport()


async def test_colours_and_motion_follow_the_system(users: BrowserUsers) -> None:
    async def background(user: BrowserUser) -> str:
        return str(await user["body"].evaluate("node => getComputedStyle(node).backgroundColor"))

    user = await users.at_login(color_scheme="light")
    assert await background(user) == "rgb(255, 255, 255)"
    await user.page.emulate_media(color_scheme="dark")
    red = int(re.findall(r"\d+", await background(user))[0])
    assert red < 40
    await user.page.emulate_media(reduced_motion="reduce")
    await user.page.set_viewport_size({"width": 375, "height": 600})
    moving = (
        "[...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration)).length"
    )
    assert await user.page.evaluate(moving) == 0


async def test_there_is_a_favicon(users: BrowserUsers) -> None:
    user = await users.at_login()
    address = await user["link[rel=icon]"].evaluate("node => node.href")
    response = await user.page.request.get(str(address))
    assert response.ok and response.headers["content-type"].startswith("image/svg+xml")
