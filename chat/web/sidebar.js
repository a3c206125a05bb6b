// The list of rooms with their unread counts, the user, and the state of the connection.

import { $, avatar, h, listen, setText } from "./dom.js";
import { on } from "./events.js";
import { badge } from "./format.js";
import { logOut } from "./storage.js";
import { joinedRooms, unreadCount } from "./store.js";

const RENDER_DELAY_MS = 30; // not an animation frame: hidden tabs have none, and the title is for them

let current, timer;

listen("log-out", "click", () => logOut({ expired: false }));
listen("menu", "click", () => setDrawer(true));
listen("sidebar-close", "click", () => setDrawer(false));
listen("scrim", "click", () => setDrawer(false));
listen("sidebar", "keydown", ({ key }) => key === "Escape" && setDrawer(false));
on("rooms", () => (timer ??= setTimeout(render, RENDER_DELAY_MS)));
on("connection", ({ name }) => {
	setText("connection-state", { online: "Online", connecting: "Connecting…" }[name] ?? "Offline");
	$("connection-state").className = name;
});

export function showUser({ username }) {
	$("me").prepend(avatar(username));
	setText("my-name", username);
}

// On phones the list is a drawer; the rest of the page is inert while it is open.
export function setDrawer(isOpen) {
	const wasOpen = $("room").inert;
	document.body.classList.toggle("drawer", isOpen);
	$("menu").setAttribute("aria-expanded", isOpen);
	$("room").inert = isOpen;
	if (isOpen) $("sidebar-close").focus();
	else if (wasOpen) $("menu").focus();
}

export function setCurrent(room) {
	current = room;
	render();
}

function render() {
	timer = null;
	const focused = document.activeElement.getAttribute("href");
	$("rooms").replaceChildren(...joinedRooms().map(roomItem));
	if (focused) $("rooms").querySelector(`[href="${focused}"]`)?.focus();
	const total = joinedRooms().reduce((sum, room) => sum + unreadCount(room), 0);
	const elsewhere = total - (current ? unreadCount(current) : 0);
	document.title = `${total ? `(${badge(total)}) ` : ""}${current ? `${current.name} – ` : ""}Chat`;
	$("menu-count").hidden = !elsewhere;
	$("menu").setAttribute("aria-label", elsewhere ? `Rooms, ${elsewhere} unread` : "Rooms");
}

function roomItem(room) {
	const unread = unreadCount(room);
	const ariaCurrent = room === current ? "page" : null;
	return h("li", null,
		h("a", { href: `#/rooms/${room.id}`, class: unread ? "unread" : "", "aria-current": ariaCurrent },
			h("bdi", null, room.name),
			unread ? h("span", { class: "count" }, badge(unread), h("span", { class: "sr-only" }, " unread")) : null));
}
