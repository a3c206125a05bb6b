"""Rooms: which there are, which one is open, what is unread in them."""

import re

from playwright.async_api import expect

from tests.actors import unique
from tests.browser.visitor import Crowd, Visitor


async def unread(visitor: Visitor, name: str, number: int) -> None:
    count = visitor.room(name).locator(".count")
    if number:
        await expect(count).to_have_text(f"{number} unread")
    else:
        await expect(count).to_have_count(0)


async def test_unread_counts_are_true_on_all_tabs_and_in_the_title(crowd: Crowd) -> None:
    host = await crowd.chat.sign_up("host")
    person = await crowd.chat.sign_up("reader")
    room = await host.creates(name := unique("news"))
    await person.joins(room)
    first = await crowd.guest(person=person)
    second = await (await crowd.tab(first)).arrives("/#/rooms/2")
    for number in range(3):
        await host.posts(f"news {number}", room)
    for tab in (first, second):
        await unread(tab, name, 3)
        await expect(tab.page).to_have_title(re.compile(r"^\(3\) (General|Random) – Chat$"))
    await first.page.bring_to_front()
    await first.room(name).click()
    await expect(first.page).to_have_title(f"{name} – Chat")

    for tab in (first, second):
        await unread(tab, name, 0)
    await host.posts("more news", room)
    await first.sees("more news")
    await unread(second, name, 0)
    await first.room("General").click()
    await host.posts("unseen", room)
    for tab in (first, second):
        await unread(tab, name, 1)
    await first.page.reload()
    await unread(first, name, 1)
    await person.posts("from elsewhere", room)  # who writes has read
    for tab in (first, second):
        await unread(tab, name, 0)


async def test_a_room_is_created_found_joined_and_left(crowd: Crowd) -> None:
    host, guest = await crowd.guest("host"), await crowd.guest("guest")
    host.forgives("status of 409")
    name = unique("Attic")
    await host["#find-room"].click()
    await host["#create-room .primary"].click()
    await expect(host["#new-name-error"]).to_have_text("A room needs a name.")
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
    for visitor in (host, guest):
        await expect(visitor["#members-count"]).to_have_text("2 people")
        await expect(visitor["#messages .event"].last).to_have_text(f"{guest.person.username} joined")
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


async def test_rooms_joined_and_left_elsewhere_come_and_go(crowd: Crowd) -> None:
    host = await crowd.chat.sign_up("host")
    room = await host.creates(name := unique("elsewhere"))
    await host.posts("old news", room)
    visitor = await crowd.guest()
    assert visitor.person
    await visitor.person.joins(room)
    await expect(visitor.room(name)).to_be_visible()
    await unread(visitor, name, 0)
    await host.posts("news", room)
    await unread(visitor, name, 1)
    await visitor.person.leaves(room)
    await expect(visitor.room(name)).to_have_count(0)


async def test_the_address_names_the_room(crowd: Crowd) -> None:
    host = await crowd.chat.sign_up("host")
    room = await host.creates(name := unique("linked"))
    await host.posts("public words", room)
    visitor = await crowd.guest()
    await expect(visitor.page).to_have_url(re.compile("/#/rooms/1$"))
    await visitor.room("Random").click()
    await visitor.is_in("Random")
    await visitor.page.go_back()
    await visitor.is_in("General")
    await visitor.page.go_forward()
    await visitor.is_in("Random")
    await visitor.page.goto(f"{visitor.url}/#/rooms/{room}")  # a shared link: he is no member
    await visitor.is_in(name)
    await visitor.sees("public words")
    await expect(visitor["#join-text"]).to_have_text(f"You are reading {name} as a guest.")
    await visitor.page.go_back()
    await visitor.is_in("Random")
    await visitor.page.goto(visitor.url)  # without a room: the last one
    await visitor.is_in("Random")


async def test_a_link_is_followed_after_the_log_in(crowd: Crowd) -> None:
    visitor = await crowd.stranger()
    await visitor.page.goto(f"{visitor.url}/#/rooms/2")
    await visitor["#login-switch"].click()
    await visitor["#username"].fill(name := unique("new"))
    await visitor["#email"].fill(f"{name}@example.com")
    await visitor["#password"].fill("correct horse")
    await visitor["#password"].press("Enter")
    await visitor.is_in("Random")


async def test_a_room_that_is_not_there_is_said_and_another_offered(crowd: Crowd) -> None:
    visitor = await crowd.guest()
    visitor.forgives("status of 404")
    await visitor.page.goto(f"{visitor.url}/#/rooms/999999")
    await visitor.is_in("There is no such room")
    await visitor["#empty-find-room"].click()
    await expect(visitor["#room-dialog"]).to_be_visible()
    await visitor.page.keyboard.press("Escape")
    await visitor.room("General").click()
    await visitor.is_in("General")


async def test_who_is_in_no_room_is_helped_on(crowd: Crowd) -> None:
    person = await crowd.chat.sign_up("hermit")
    for room in (1, 2):
        await person.leaves(room)
    visitor = await crowd.comes(person=person)
    await visitor.page.goto(visitor.url)
    await visitor.is_in("You are in no room")
    await visitor["#empty-find-room"].click()
    await visitor["#room-dialog-list"].get_by_role("button", name="Join Random").click()
    await visitor.is_in("Random")
