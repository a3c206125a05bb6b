// The list of rooms with their unread counts, who I am, and how the connection stands.

import { $, avatar, h, listen, text } from "./dom.js";
import { on } from "./events.js";
import { badge } from "./format.js";
import { leave } from "./storage.js";
import { me, mine, unread } from "./store.js";

let current, timer;

$("me").prepend(avatar(me.username));
text("my-name", me.username);
listen("log-out", "click", () => leave({ ended: false }));
listen("menu", "click", () => drawer(true));
listen("side-close", "click", () => drawer(false));
listen("scrim", "click", () => drawer(false));
listen("side", "keydown", ({ key }) => key === "Escape" && drawer(false));
// Not by animation frame: the title is for tabs that nobody sees.
on("rooms", () => (timer ??= setTimeout(draw, 30)));
on("link", ({ name }) => {
	text("link-state", { online: "Online", connecting: "Connecting…" }[name] ?? "Offline");
	$("link-state").className = name;
});

// On phones the list is a drawer: the rest waits while it is open.
export function drawer(open) {
	const was = $("room").inert;
	document.body.classList.toggle("drawer", open);
	$("menu").setAttribute("aria-expanded", open);
	$("room").inert = open;
	if (open) $("side-close").focus();
	else if (was) $("menu").focus();
}

export function mark(room) {
	current = room;
	draw();
}

function draw() {
	timer = null;
	const focused = document.activeElement.getAttribute("href");
	$("rooms").replaceChildren(...mine().map(item));
	if (focused) $("rooms").querySelector(`[href="${focused}"]`)?.focus();
	const all = mine().reduce((sum, room) => sum + unread(room), 0);
	const elsewhere = all - (current ? unread(current) : 0);
	document.title = `${all ? `(${badge(all)}) ` : ""}${current ? `${current.name} – ` : ""}Chat`;
	$("menu-count").hidden = !elsewhere;
	$("menu").setAttribute("aria-label", elsewhere ? `Rooms, ${elsewhere} unread` : "Rooms");
}

function item(room) {
	const news = unread(room);
	const open = room === current ? "page" : null;
	return h("li", null,
		h("a", { href: `#/rooms/${room.id}`, class: news ? "news" : "", "aria-current": open },
			h("bdi", null, room.name),
			news ? h("span", { class: "count" }, badge(news), h("span", { class: "sr" }, " unread")) : null));
}
