// Who is in the open room: a column beside it, on narrow screens above it.

import { on } from "./bus.js";
import { $, avatar, h, on as listen } from "./dom.js";
import { ask, leave, look, me } from "./store.js";
import { count } from "./words.js";

const MOST = 200; // people listed; of the others their number is told
const WAIT_MS = 300; // a crowd that comes or goes is looked at once

let room, timer;

listen("people-button", "click", () => toggle($("people").hidden));
listen("people-close", "click", () => toggle(false));
listen("people", "keydown", ({ key }) => key === "Escape" && toggle(false));
listen("leave", "click", () =>
	leave(room).then(() => toggle(false), ({ message }) => ($("people-note").textContent = message)));
on("rooms", number);
on("people", (where) => {
	if (where === room) timer ??= setTimeout(list, WAIT_MS);
});

export function show(next) {
	room = next;
	if (!room) $("people").hidden = true;
	else if (!$("people").hidden) list();
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
	$("people-count").textContent = count(room?.members ?? 0, "person", "people");
	$("leave").hidden = !room?.member;
}

async function list() {
	timer = null;
	const asked = room;
	try {
		await look(room.id); // how many there are
		if ($("people").hidden) return;
		const members = await ask("GET", `/v1/chat/rooms/${asked.id}/members?limit=${MOST}`);
		if (room !== asked) return;
		members.sort((a, b) => a.username.localeCompare(b.username));
		$("people-list").replaceChildren(...members.map(person));
		const more = room.members - members.length;
		$("people-note").textContent = more > 0 ? `and ${count(more, "other")}` : "";
	} catch ({ message }) {
		$("people-note").textContent = message;
	}
}

function person({ username, userId, isBot, role }) {
	const notes = [userId === me.id && "you", role !== "member" && role].filter(Boolean).join(", ");
	return h("li", null, avatar(username, isBot), h("bdi", null, username),
		isBot ? h("span", { class: "tag" }, "bot") : null, h("span", { class: "note" }, notes));
}
