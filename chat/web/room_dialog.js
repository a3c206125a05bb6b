// The dialog in which the user joins another room or creates one.

import { $, h, listen, setText, showErrors } from "./dom.js";
import { count } from "./format.js";
import { createRoom, fetchRooms, join } from "./store.js";

const dialog = $("room-dialog");

listen("room-dialog-close", "click", () => dialog.close());
listen("create-room", "submit", async (event) => {
	event.preventDefault();
	const name = $("new-name").value.trim();
	showErrors({ "new-name": name ? "" : "Enter a name for the room." }, "new-name");
	if (!name) return;
	try {
		closeAndOpen(await createRoom(name, $("new-topic").value.trim()));
	} catch ({ message }) {
		showErrors({ "new-name": message }, "new-name");
	}
});

export async function openRoomDialog() {
	$("create-room").reset();
	showErrors({}, "new-name");
	renderRooms([], "Loading…");
	dialog.showModal();
	try {
		const others = (await fetchRooms()).filter(({ isMember }) => !isMember);
		others.sort((a, b) => a.name.localeCompare(b.name));
		renderRooms(others, others.length ? "" : "You are in all rooms already.");
	} catch ({ message }) {
		renderRooms([], message);
	}
}

function closeAndOpen(room) {
	dialog.close();
	location.hash = `#/rooms/${room.id}`;
}

function renderRooms(rooms, hint) {
	setText("room-dialog-hint", hint);
	$("room-dialog-list").replaceChildren(...rooms.map(roomItem));
}

function roomItem(room) {
	const onclick = () => join(room).then(() => closeAndOpen(room), ({ message }) => setText("room-dialog-hint", message));
	const details = [room.topic, count(room.memberCount, "person", "people")].filter(Boolean).join(" · ");
	return h("li", null,
		h("div", null, h("bdi", { class: "name" }, room.name), h("p", { class: "muted" }, details)),
		h("button", { class: "quiet", onclick }, "Join", h("span", { class: "sr-only" }, ` ${room.name}`)));
}
