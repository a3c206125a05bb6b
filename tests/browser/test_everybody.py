"""For everybody: keyboards, screen readers, small screens, large type, the dark; and soon there."""

import re
from typing import Literal

import pytest
from playwright.async_api import expect

from chat.http.static_files import FILES
from tests.actors import unique
from tests.browser.visitor import OFFLINE, Crowd, Line, Visitor

BYTES = 60 * 1024


async def test_the_web_client_is_small_and_asks_only_its_own_server(crowd: Crowd) -> None:
    assert sum(path.stat().st_size for path in FILES.values()) < BYTES
    visitor = await crowd.comes()
    requests: list[str] = []
    visitor.page.on("request", lambda request: requests.append(request.url))
    await visitor.arrives()
    await expect(visitor["#link-state"]).to_have_text("Online")
    assert all(address.startswith(visitor.url) for address in requests)


@pytest.mark.timing
async def test_the_web_client_is_online_within_a_second(crowd: Crowd) -> None:
    visitor = await crowd.comes()
    await visitor.arrives()
    await expect(visitor["#link-state"]).to_have_text("Online")
    elapsed_ms: float = await visitor.page.evaluate("performance.now()")
    assert elapsed_ms < 1000


@pytest.mark.usefixtures("axe")
async def test_no_view_has_what_keeps_people_out(crowd: Crowd) -> None:
    """axe-core looks at each view: the card and its errors, a busy room with every state, people, finder, empty."""

    async def nothing_is_wrong(with_whom: Visitor, *schemes: Literal["light", "dark"]) -> None:
        for scheme in schemes:
            await with_whom.page.emulate_media(color_scheme=scheme)
            assert await with_whom.violations() == []

    door = await crowd.stranger(bypass_csp=True)  # axe's own needs are not the page's
    await door["#card-switch"].click()
    await door["#card-go"].click()
    await nothing_is_wrong(door, "light", "dark")

    host = await crowd.chat.sign_up("host")
    room = await host.creates(unique("busy"), "Everything at once")
    await host.posts("see https://example.com/", room)
    visitor = await crowd.comes(bypass_csp=True)
    line = await Line.of(visitor)
    await visitor.arrives(f"/#/rooms/{room}")
    await visitor.sees("see https://example.com/")
    await nothing_is_wrong(visitor, "light")
    await visitor["#join"].click()
    await expect(visitor["#messages .happened"]).to_have_count(2)
    await visitor.says("/stock=AAPL.US")
    await expect(visitor["li.robot"]).to_be_visible()
    for text in ("mine", "mine, too"):
        await visitor.says(text)
        await visitor.sees(text)
    await expect(visitor["li.own .state"]).to_have_count(0)
    line.deaf = True
    await visitor.says("pending")
    await visitor.says("failed")
    await expect(visitor["li.flying"]).to_have_count(2)
    client_id = line.said("failed")[0]["clientId"]
    line.says({"type": 14, "code": "unavailable", "chatmessage": "no", "clientId": client_id, "chatroomId": room})
    await expect(visitor["li.failed"]).to_be_visible()
    await (await crowd.chat.sign_up("speaker")).posts("unread", 1)
    await expect(visitor.room("General").locator(".count")).to_be_visible()
    await visitor["#people-button"].click()
    await expect(visitor["#people-list li"]).to_have_count(2)
    await visitor.box.press_sequentially("/")
    await expect(visitor["#hints"]).to_be_visible()
    await nothing_is_wrong(visitor, "light", "dark")
    await visitor["#find"].click()
    await visitor["#creator .primary"].click()
    await expect(visitor["#new-name-error"]).to_be_visible()
    await nothing_is_wrong(visitor, "dark")
    await visitor["#finder-close"].click()
    visitor.forgives("status of 404")
    await visitor.page.goto(f"{visitor.url}/#/rooms/99999999")
    await visitor.is_in("There is no such room")
    await nothing_is_wrong(visitor, "light")


@pytest.mark.usefixtures("axe")
async def test_a_broken_connection_is_told_to_everybody(crowd: Crowd) -> None:
    visitor = await crowd.comes(bypass_csp=True)
    visitor.forgives(OFFLINE)  # also of what the page was just loading
    await visitor.arrives()
    await crowd.house.falls()
    try:
        await expect(visitor["#banner"]).to_contain_text("The server cannot be reached")
        await expect(visitor["#composer-note"]).to_contain_text("when the connection is back")
        await expect(visitor["#hurry"]).to_be_visible()
        assert await visitor.violations() == []
    finally:
        await crowd.house.opens()


async def test_the_keyboard_alone_suffices(crowd: Crowd) -> None:
    visitor = await crowd.stranger()
    keyboard = visitor.page.keyboard

    async def tabs_to(selector: str) -> None:
        for _ in range(30):
            if await visitor[selector].evaluate("node => node === document.activeElement"):
                return
            await keyboard.press("Tab")
        raise AssertionError(f"{selector} cannot be reached")

    await tabs_to("#card-switch")
    await keyboard.press("Enter")
    name = unique("keys")
    for text in (name, f"{name}@example.com", "correct horse"):
        await keyboard.type(text)
        await keyboard.press("Tab")
    await keyboard.press("Enter")
    await visitor.is_in("General")
    await expect(visitor.box).to_be_focused()
    await keyboard.type(text := unique())
    await keyboard.press("Enter")
    await visitor.sees(text)
    await tabs_to("#rooms a[href$='/2']")
    await keyboard.press("Enter")
    await visitor.is_in("Random")
    await expect(visitor.box).to_be_focused()
    await tabs_to("#find")
    await keyboard.press("Enter")
    await tabs_to("#new-name")
    await keyboard.type(room := unique("keys"))
    await keyboard.press("Enter")
    await visitor.is_in(room)
    await tabs_to("#people-button")
    await keyboard.press("Enter")
    await expect(visitor["#people-title"]).to_be_focused()
    await keyboard.press("Escape")
    await expect(visitor["#people"]).to_be_hidden()
    await expect(visitor["#people-button"]).to_be_focused()
    await tabs_to("#scroller")  # it scrolls by keys
    await visitor.page.reload()
    await visitor.is_in(room)
    await tabs_to("#log-out")
    await keyboard.press("Enter")
    await expect(visitor["#card"]).to_be_visible()


async def test_what_is_said_is_announced(crowd: Crowd) -> None:
    visitor = await crowd.guest()
    await expect(visitor["#announcer"]).to_have_attribute("aria-live", "polite")
    host = await crowd.chat.sign_up("speaker")
    await host.posts("listen", 1)
    await expect(visitor["#announcer"]).to_have_text(f"{host.username}: listen")
    await expect(visitor["#scroller"]).to_have_attribute("aria-label", "Messages in General")


async def phone(crowd: Crowd, width: int = 320) -> Visitor:
    host = await crowd.chat.sign_up("a-name-as-long-as-names")
    room = await host.creates(f"A room with a rather long name {unique()}", "And a topic that does not fit at all")
    await host.posts("https://example.com/" + "x" * 200, room)
    await host.posts("words " * 60, room)
    guest = await crowd.chat.sign_up("guest")
    await guest.joins(room)
    path = f"/#/rooms/{room}"
    return await crowd.guest(person=guest, path=path, viewport={"width": width, "height": 560}, has_touch=True)


async def test_from_320_pixels_on_the_rooms_are_a_drawer(crowd: Crowd) -> None:
    visitor = await phone(crowd)
    await expect(visitor["li:not(.own) .bubble"]).to_have_count(2)
    await visitor.fits()
    await expect(visitor["#side"]).to_be_hidden()
    await visitor["#menu"].click()
    await expect(visitor["#side"]).to_be_in_viewport(ratio=1)
    await expect(visitor["#menu"]).to_have_attribute("aria-expanded", "true")
    await visitor.page.keyboard.press("Escape")
    await expect(visitor["#side"]).to_be_hidden()
    await expect(visitor["#menu"]).to_be_focused()
    await visitor["#menu"].click()
    await visitor.room("Random").click()
    await visitor.is_in("Random")
    await expect(visitor["#side"]).to_be_hidden()
    await visitor["#people-button"].click()
    await expect(visitor["#people"]).to_be_in_viewport(ratio=1)
    await visitor.fits()
    await visitor["#people-close"].click()
    await visitor.box.fill(text := unique())
    await visitor["#composer .primary"].click()
    await visitor.sees(text)
    await expect(visitor["#composer .primary"]).to_be_in_viewport(ratio=1)
    door = await crowd.stranger(viewport={"width": 320, "height": 560})
    await door["#card-switch"].click()
    await door["#card-go"].click()
    await door.fits()


@pytest.mark.parametrize("width", [1280, 640])
async def test_type_of_twice_the_size_fits(crowd: Crowd, width: int) -> None:
    visitor = await phone(crowd, width)
    await visitor["html"].evaluate("node => { node.style.fontSize = '200%' }")
    await visitor.fits()
    for selector in ("#message", "#composer .primary", "#people-button"):
        await expect(visitor[selector]).to_be_in_viewport(ratio=1)
    await expect(visitor["li .bubble"].last).to_be_in_viewport()


async def test_colours_and_motion_are_the_system_s(crowd: Crowd) -> None:
    async def paper(visitor: Visitor) -> str:
        return str(await visitor["body"].evaluate("node => getComputedStyle(node).backgroundColor"))

    visitor = await crowd.stranger(color_scheme="light")
    assert await paper(visitor) == "rgb(255, 255, 255)"
    await visitor.page.emulate_media(color_scheme="dark")
    red = int(re.findall(r"\d+", await paper(visitor))[0])
    assert red < 40
    await visitor.page.emulate_media(reduced_motion="reduce")
    await visitor.page.set_viewport_size({"width": 375, "height": 600})
    moving = (
        "[...document.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).transitionDuration)).length"
    )
    assert await visitor.page.evaluate(moving) == 0


async def test_there_is_a_favicon(crowd: Crowd) -> None:
    visitor = await crowd.stranger()
    address = await visitor["link[rel=icon]"].evaluate("node => node.href")
    response = await visitor.page.request.get(str(address))
    assert response.ok and response.headers["content-type"].startswith("image/svg+xml")
