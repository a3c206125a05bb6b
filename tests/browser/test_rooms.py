"""The list of rooms, the open room, and unread counts."""

import re

from playwright.async_api import expect

from tests.browser.browser_user import BrowserUser, BrowserUsers
from tests.support.names import unique


async def has_unread(user: BrowserUser, name: str, number: int) -> None:
    count = user.room(name).locator(".count")
    if number:
        await expect(count).to_have_text(f"{number} unread")
    else:
        await expect(count).to_have_count(0)


async def test_unread_counts_are_true_on_all_tabs_and_in_the_title(users: BrowserUsers) -> None:
    host = await users.chat.sign_up("host")
    person = await users.chat.sign_up("reader")
    room = await host.creates(name := unique("news"))
    await person.joins(room)
    first = await users.in_chat(person=person)
    second = await (await users.new_tab(first)).opens("/#/rooms/2")
    for number in range(3):
        await host.posts(f"news {number}", room)
    for tab in (first, second):
        await has_unread(tab, name, 3)
        await expect(tab.page).to_have_title(re.compile(r"^\(3\) (General|Random) – Chat$"))
    await first.page.bring_to_front()
    await first.room(name).click()
    await expect(first.page).to_have_title(f"{name} – Chat")

    for tab in (first, second):
        await has_unread(tab, name, 0)
    await host.posts("more news", room)
    await first.sees("more news")
    await has_unread(second, name, 0)
    await first.room("General").click()
    await host.posts("unseen", room)
    for tab in (first, second):
        await has_unread(tab, name, 1)
    await first.page.reload()
    await has_unread(first, name, 1)
    await person.posts("from elsewhere", room)  # writing in a room marks it as read
    for tab in (first, second):
        await has_unread(tab, name, 0)


async def test_a_new_account_is_counted_on_every_open_page(users: BrowserUsers) -> None:
    one, other = await users.in_chat("one"), await users.in_chat("other")
    general = await one.person.gets("/v1/chat/rooms/1") if one.person else {}
    count = general["memberCount"]
    requests: list[str] = []
    one.page.on("request", lambda request: requests.append(request.url))
    for page in (one, other):
        await expect(page["#members-count"]).to_have_text(f"{count} people")
    await other["#members-button"].click()
    new = await users.chat.sign_up("new")
    for page in (one, other):
        await expect(page["#members-count"]).to_have_text(f"{count + 1} people")
    await expect(other["#members-list"]).to_contain_text(new.username)
    await new.leaves(1)
    await new.joins(1)
    await new.leaves(1)
    await new.posts("back again", 1)
    await one.sees("back again")
    for page in (one, other):
        await expect(page["#members-count"]).to_have_text(f"{count + 1} people")
    assert not requests, "a page whose list of members is closed needs no request"


async def test_a_room_is_created_found_joined_and_left(users: BrowserUsers) -> None:
    host, guest = await users.in_chat("host"), await users.in_chat("guest")
    host.expects_errors("status of 409")
    name = unique("Attic")
    await host["#find-room"].click()
    await host["#create-room .primary"].click()
    await expect(host["#new-name-error"]).to_have_text("Enter a name for the room.")
    await host["#new-name"].fill("General")
    await host["#create-room .primary"].click()
    await expect(host["#new-name-error"]).to_contain_text("taken")
    await host["#new-name"].fill(name)
    await host["#new-topic"].fill("Old things")
    await host["#new-topic"].press("Enter")
    await host.is_in(name)
    await expect(host["#room-topic"]).to_have_text("Old things")
    await expect(host["#top"]).to_contain_text("Say hello")
    await expect(host.room(name)).to_have_attribute("aria-current", "page")

    await guest["#find-room"].click()
    await guest["#room-dialog-list"].get_by_role("button", name=f"Join {name}").click()
    await guest.is_in(name)
    assert guest.person and host.person
    for user in (host, guest):
        await expect(user["#members-count"]).to_have_text("2 people")
        await expect(user["#messages .event"].last).to_have_text(f"{guest.person.username} joined")
    await guest["#members-button"].click()
    await expect(guest["#members-list li"]).to_have_count(2)
    await expect(guest["#members-list"]).to_contain_text(f"{host.person.username}owner")
    await expect(guest["#members-list"]).to_contain_text(f"{guest.person.username}you")
    await guest["#leave"].click()
    await expect(guest["#join-bar"]).to_be_visible()
    await expect(guest.box).to_be_hidden()
    await expect(guest.room(name)).to_have_count(0)
    await expect(host["#members-count"]).to_have_text("1 person")
    await guest["#join"].click()
    await expect(guest.box).to_be_focused()
    await guest.says("back again")
    await host.sees("back again")


async def test_the_list_follows_rooms_joined_and_left_elsewhere(users: BrowserUsers) -> None:
    host = await users.chat.sign_up("host")
    room = await host.creates(name := unique("elsewhere"))
    await host.posts("old news", room)
    user = await users.in_chat()
    assert user.person
    await user.person.joins(room)
    await expect(user.room(name)).to_be_visible()
    await has_unread(user, name, 0)
    await host.posts("news", room)
    await has_unread(user, name, 1)
    await user.person.leaves(room)
    await expect(user.room(name)).to_have_count(0)


async def test_the_address_names_the_room(users: BrowserUsers) -> None:
    host = await users.chat.sign_up("host")
    room = await host.creates(name := unique("linked"))
    await host.posts("public words", room)
    user = await users.in_chat()
    await expect(user.page).to_have_url(re.compile("/#/rooms/1$"))
    await user.room("Random").click()
    await user.is_in("Random")
    await user.page.go_back()
    await user.is_in("General")
    await user.page.go_forward()
    await user.is_in("Random")
    await user.page.goto(f"{user.url}/#/rooms/{room}")  # a shared link; the user is not a member
    await user.is_in(name)
    await user.sees("public words")
    await expect(user["#join-text"]).to_have_text(f"You are reading {name} as a guest.")
    await user.page.go_back()
    await user.is_in("Random")
    await user.page.goto(user.url)  # without a room in the address, the last one opens
    await user.is_in("Random")


async def test_a_link_is_followed_after_the_log_in(users: BrowserUsers) -> None:
    user = await users.at_login()
    await user.page.goto(f"{user.url}/#/rooms/2")
    await user["#login-switch"].click()
    await user["#username"].fill(name := unique("new"))
    await user["#email"].fill(f"{name}@example.com")
    await user["#password"].fill("correct horse")
    await user["#password"].press("Enter")
    await user.is_in("Random")


async def test_the_address_of_a_missing_room_offers_others(users: BrowserUsers) -> None:
    user = await users.in_chat()
    user.expects_errors("status of 404")
    await user.page.goto(f"{user.url}/#/rooms/999999")
    await user.is_in("There is no such room")
    await user["#empty-find-room"].click()
    await expect(user["#room-dialog"]).to_be_visible()
    await user.page.keyboard.press("Escape")
    await user.room("General").click()
    await user.is_in("General")


async def test_users_without_a_room_are_offered_some(users: BrowserUsers) -> None:
    person = await users.chat.sign_up("hermit")
    for room in (1, 2):
        await person.leaves(room)
    user = await users.logged_in(person=person)
    await user.page.goto(user.url)
    await user.is_in("You are not in a room")
    await user["#empty-find-room"].click()
    await user["#room-dialog-list"].get_by_role("button", name="Join Random").click()
    await user.is_in("Random")
