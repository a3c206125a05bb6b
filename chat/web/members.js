// Who is in the open room: a column beside it, on narrow screens above it.

import { call } from "./api.js";
import { $, avatar, h, listen, text } from "./dom.js";
import { on } from "./events.js";
import { count } from "./format.js";
import { leave, look, me } from "./store.js";

const WAIT_MS = 300; // a crowd that comes is looked at once

let room, timer;

listen("people-button", "click", () => toggle($("people").hidden));
listen("people-close", "click", () => toggle(false));
listen("people", "keydown", ({ key }) => key === "Escape" && toggle(false));
listen("leave", "click", () =>
	leave(room).then(() => toggle(false), ({ message }) => text("people-note", message)));
on("rooms", number);
on("people", (where) => {
	if (where === room) timer ??= setTimeout(list, WAIT_MS);
});

export function show(next) {
	room = next;
	if (room) list();
	else $("people").hidden = true;
	number();
}

function toggle(open) {
	$("people").hidden = !open;
	$("people-button").setAttribute("aria-expanded", open);
	if (open) list();
	$(open ? "people-title" : "people-button").focus();
}

function number() {
	$("people-button").hidden = !room?.members;
	text("people-count", count(room?.members ?? 0, "person", "people"));
	$("leave").hidden = !room?.member;
}

async function list() {
	timer = null;
	const asked = room;
	try {
		await look(room.id); // how many there are
		if ($("people").hidden) return;
		const members = await call("GET", `/v1/chat/rooms/${asked.id}/members`);
		if (room !== asked) return;
		members.sort((a, b) => a.username.localeCompare(b.username));
		$("people-list").replaceChildren(...members.map(person));
	} catch ({ message }) {
		text("people-note", message);
	}
}

function person({ username, userId, isBot, role }) {
	const notes = [userId === me.id && "you", role !== "member" && role].filter(Boolean).join(", ");
	return h("li", null, avatar(username, isBot), h("bdi", null, username),
		isBot ? h("span", { class: "tag" }, "bot") : null, h("span", { class: "note" }, notes));
}
