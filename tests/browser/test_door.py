"""Coming in and going out."""

import re

from playwright.async_api import expect

from tests.actors import unique
from tests.browser.visitor import PASSWORD, Crowd, Line


async def test_each_error_of_a_sign_up_stands_at_its_field(crowd: Crowd) -> None:
    known = await crowd.chat.sign_up("known")
    new = await crowd.stranger()
    new.forgives("status of 4(00|09)")
    await new["#login-switch"].click()
    await new["#login-submit"].click()
    for field in ("username", "email", "password"):
        await expect(new[f"#{field}-error"]).to_be_visible()
        await expect(new[f"#{field}"]).to_have_attribute("aria-invalid", "true")
    await expect(new["#username"]).to_be_focused()
    for username, email, password, field, error in (
        (known.username, "new@example.com", PASSWORD, "username", "taken"),
        (unique(), known.email, PASSWORD, "email", "taken"),
        ("no spaces", "new@example.com", PASSWORD, "username", "3 to 32"),
        (unique(), "nonsense", PASSWORD, "email", "not valid"),
        (unique(), "new@example.com", "short", "password", "8 characters"),
    ):
        await new["#username"].fill(username)
        await new["#email"].fill(email)
        await new["#password"].fill(password)
        await new["#password"].press("Enter")
        await expect(new[f"#{field}-error"]).to_contain_text(error)
        await expect(new["#login-form .wrong:visible"]).to_have_count(1)
        await expect(new[f"#{field}"]).to_be_focused()


async def test_who_has_an_account_logs_in_and_stays_in_until_he_logs_out(crowd: Crowd) -> None:
    known = await crowd.chat.sign_up("known")
    visitor = await crowd.stranger()
    visitor.forgives("status of 401")
    await visitor["#email"].fill(known.email)
    await visitor["#password"].fill("wrong horse")
    await visitor["#login-submit"].click()
    await expect(visitor["#password-error"]).to_have_text("E-mail or password is wrong.")
    await visitor["#password"].fill(PASSWORD)
    await visitor["#login-submit"].click()
    await visitor.is_in("General")
    await expect(visitor["#my-name"]).to_have_text(known.username)
    await visitor.page.reload()
    await visitor.is_in("General")
    await visitor.box.fill("a secret that stays unsaid")
    await visitor["#log-out"].click()
    await expect(visitor["#login-form"]).to_be_visible()
    assert visitor.page.url == visitor.url + "/"
    assert await visitor.page.evaluate("localStorage.length + sessionStorage.length") == 0
    await visitor.page.reload()
    await expect(visitor["#login-form"]).to_be_visible()


async def test_a_server_that_is_away_is_said_at_the_door(crowd: Crowd) -> None:
    visitor = await crowd.stranger()
    visitor.forgives("ERR_FAILED")
    await visitor.page.route("**/v1/auth/*", lambda route: route.abort())
    await visitor["#email"].fill("somebody@example.com")
    await visitor["#password"].fill(PASSWORD)
    await visitor["#login-submit"].click()
    await expect(visitor["#login-error"]).to_contain_text("cannot be reached")


async def test_the_token_is_in_no_address(crowd: Crowd) -> None:
    person = await crowd.chat.sign_up("careful")
    visitor = await crowd.comes(person=person)
    addresses: list[str] = []
    visitor.page.on("request", lambda request: addresses.append(request.url))
    visitor.page.on("websocket", lambda socket: addresses.append(socket.url))
    await visitor.arrives()
    await visitor.says("hello")
    await visitor.sees("hello")
    assert any(address.endswith("/v1/ws") for address in addresses)
    assert not any(person.token in address for address in addresses)


async def test_a_session_that_ended_asks_to_log_in_and_keeps_drafts(crowd: Crowd) -> None:
    person = await crowd.chat.sign_up("late")
    room = await person.creates("")
    visitor = await crowd.comes(person=person)
    line = await Line.of(visitor)
    await visitor.arrives(f"/#/rooms/{room}")
    await visitor.box.fill("half a thought")
    await line.breaks(4001)
    await expect(visitor["#login-notice"]).to_contain_text("Your session has ended")
    await expect(visitor["#email"]).to_have_value(person.email)
    await expect(visitor["#password"]).to_be_focused()
    await visitor["#password"].fill(PASSWORD)
    await visitor["#login-submit"].click()
    await expect(visitor.page).to_have_url(re.compile(f"#/rooms/{room}$"))
    await expect(visitor.box).to_have_value("half a thought")


async def test_a_refused_token_leads_to_the_door(crowd: Crowd) -> None:
    person = await crowd.chat.sign_up("old")
    person.token += "x"
    visitor = await crowd.comes(person=person)
    visitor.forgives("WebSocket connection|status of 401")
    await visitor.page.goto(visitor.url)
    await expect(visitor["#login-notice"]).to_contain_text("Your session has ended")


async def test_logging_out_in_one_tab_logs_out_the_other(crowd: Crowd) -> None:
    visitor = await crowd.guest()
    other = await (await crowd.tab(visitor)).arrives()
    await visitor["#log-out"].click()
    await expect(other["#login-form"]).to_be_visible()
