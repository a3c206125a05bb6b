"""Signing up, logging in and logging out."""

import re

from playwright.async_api import expect

from tests.browser.browser_user import PASSWORD, SESSION_OVER, BrowserUsers, SocketInterceptor
from tests.support.names import unique


async def test_each_sign_up_error_is_shown_at_its_field(users: BrowserUsers) -> None:
    known = await users.chat.sign_up("known")
    new = await users.at_login()
    new.expects_errors("status of 4(00|09)")
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


async def test_users_stay_logged_in_until_they_log_out(users: BrowserUsers) -> None:
    known = await users.chat.sign_up("known")
    user = await users.at_login()
    user.expects_errors("status of 401")
    await user["#email"].fill(known.email)
    await user["#password"].fill("wrong horse")
    await user["#login-submit"].click()
    await expect(user["#password-error"]).to_have_text("The e-mail address or the password is wrong.")
    await user["#password"].fill(PASSWORD)
    await user["#login-submit"].click()
    await user.is_in("General")
    await expect(user["#my-name"]).to_have_text(known.username)
    await user.page.reload()
    await user.is_in("General")
    await user.box.fill("a private draft")
    await user["#log-out"].click()
    await expect(user["#login-form"]).to_be_visible()
    assert user.page.url == user.url + "/"
    assert await user.page.evaluate("localStorage.length + sessionStorage.length") == 0
    await user.page.reload()
    await expect(user["#login-form"]).to_be_visible()


async def test_the_form_says_when_the_server_cannot_be_reached(users: BrowserUsers) -> None:
    user = await users.at_login()
    user.expects_errors("ERR_FAILED")
    await user.page.route("**/v1/auth/*", lambda route: route.abort())
    await user["#email"].fill("somebody@example.com")
    await user["#password"].fill(PASSWORD)
    await user["#login-submit"].click()
    await expect(user["#login-error"]).to_contain_text("cannot be reached")


async def test_the_token_is_in_no_address(users: BrowserUsers) -> None:
    person = await users.chat.sign_up("careful")
    user = await users.logged_in(person=person)
    addresses: list[str] = []
    user.page.on("request", lambda request: addresses.append(request.url))
    user.page.on("websocket", lambda socket: addresses.append(socket.url))
    await user.opens()
    await user.says("hello")
    await user.sees("hello")
    assert any(address.endswith("/v1/ws") for address in addresses)
    assert not any(person.token in address for address in addresses)


async def test_an_expired_session_keeps_the_drafts(users: BrowserUsers) -> None:
    person = await users.chat.sign_up("late")
    room = await person.creates("")
    user = await users.logged_in(person=person)
    socket = await SocketInterceptor.install(user)
    await user.opens(f"/#/rooms/{room}")
    await user.box.fill("half a thought")
    await socket.close(SESSION_OVER)
    await expect(user["#login-notice"]).to_contain_text("Your session has ended")
    await expect(user["#email"]).to_have_value(person.email)
    await expect(user["#password"]).to_be_focused()
    await user["#password"].fill(PASSWORD)
    await user["#login-submit"].click()
    await expect(user.page).to_have_url(re.compile(f"#/rooms/{room}$"))
    await expect(user.box).to_have_value("half a thought")


async def test_a_refused_token_leads_to_the_log_in_form(users: BrowserUsers) -> None:
    person = await users.chat.sign_up("old")
    person.token += "x"
    user = await users.logged_in(person=person)
    user.expects_errors("WebSocket connection|status of 401")
    await user.page.goto(user.url)
    await expect(user["#login-notice"]).to_contain_text("Your session has ended")


async def test_logging_out_in_one_tab_logs_out_the_other(users: BrowserUsers) -> None:
    user = await users.in_chat()
    other = await (await users.new_tab(user)).opens()
    await user["#log-out"].click()
    await expect(other["#login-form"]).to_be_visible()
