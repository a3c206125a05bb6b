// The members of the open room: a column beside the messages, on narrow screens a panel above them.

import { call } from "./api.js";
import { $, avatar, h, listen, setText } from "./dom.js";
import { on } from "./events.js";
import { count } from "./format.js";
import { fetchRoom, leave, me } from "./store.js";

const REFRESH_DELAY_MS = 300; // many joins at once cause one request

let room, timer;

listen("members-button", "click", () => toggle($("members").hidden));
listen("members-close", "click", () => toggle(false));
listen("members", "keydown", ({ key }) => key === "Escape" && toggle(false));
listen("leave", "click", () =>
	leave(room).then(() => toggle(false), ({ message }) => setText("members-hint", message)));
on("rooms", updateCount);
on("members", (changed) => {
	if (changed !== room) return;
	updateCount();
	if (!$("members").hidden) timer ??= setTimeout(refresh, REFRESH_DELAY_MS);
});

export function show(next) {
	room = next;
	if (room) refresh();
	else $("members").hidden = true;
	updateCount();
}

function toggle(isOpen) {
	$("members").hidden = !isOpen;
	$("members-button").setAttribute("aria-expanded", isOpen);
	if (isOpen) refresh();
	$(isOpen ? "members-title" : "members-button").focus();
}

function updateCount() {
	$("members-button").hidden = !room?.memberCount;
	setText("members-count", count(room?.memberCount ?? 0, "person", "people"));
	$("leave").hidden = !room?.isMember;
}

async function refresh() {
	timer = null;
	const requested = room;
	try {
		await fetchRoom(room.id); // for the number of members
		if ($("members").hidden) return;
		const members = await call("GET", `/v1/chat/rooms/${requested.id}/members`);
		if (room !== requested) return;
		members.sort((a, b) => a.username.localeCompare(b.username));
		$("members-list").replaceChildren(...members.map(memberItem));
	} catch ({ message }) {
		setText("members-hint", message);
	}
}

function memberItem({ username, userId, isBot, role }) {
	const details = [userId === me.id && "you", role !== "member" && role].filter(Boolean).join(", ");
	return h("li", null, avatar(username, isBot), h("bdi", null, username),
		isBot ? h("span", { class: "tag" }, "bot") : null, h("span", { class: "muted" }, details));
}
