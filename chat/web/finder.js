// The dialog that finds a room to join, or creates one.

import { $, h, mark, on as listen } from "./dom.js";
import { create, join, refresh, rooms } from "./store.js";
import { count } from "./words.js";

const MOST = 100; // rooms listed; who looks for another types its name

const dialog = $("finder");
let listed = [];

listen("finder-close", "click", () => dialog.close());
listen("filter", "input", draw);
listen("creator", "submit", async (event) => {
	event.preventDefault();
	const name = $("new-name").value.trim();
	mark({ "new-name": name ? "" : "A room needs a name." }, "new-name");
	if (!name) return;
	try {
		go(await create(name, $("new-topic").value.trim()));
	} catch ({ message }) {
		mark({ "new-name": message }, "new-name");
	}
});

export async function find() {
	$("filter").value = "";
	$("creator").reset();
	mark({}, "new-name");
	tell("Loading…");
	dialog.showModal();
	try {
		listed = await refresh();
		draw();
	} catch ({ message }) {
		tell(message);
	}
}

function go(room) {
	dialog.close();
	location.hash = `#/rooms/${room.id}`;
}

function draw() {
	const asked = $("filter").value.trim().toLowerCase();
	const others = listed.map(({ id }) => rooms.get(id)).filter(({ member }) => !member);
	const found = others.filter(({ name, topic }) => `${name} ${topic}`.toLowerCase().includes(asked));
	found.sort((a, b) => a.name.localeCompare(b.name));
	tell(
		found.length > MOST ? `and ${count(found.length - MOST, "room")} more`
			: found.length ? "" : others.length ? "No room has this in its name or topic." : "You are in every room there is.",
		...found.slice(0, MOST).map(item));
}

function tell(text, ...items) {
	$("finder-note").textContent = text;
	$("finder-list").replaceChildren(...items);
}

function item(room) {
	const onclick = () => join(room).then(() => go(room), ({ message }) => ($("finder-note").textContent = message));
	const about = [room.topic, count(room.members, "person", "people")].filter(Boolean).join(" · ");
	return h("li", null,
		h("div", null, h("bdi", { class: "name" }, room.name), h("p", { class: "note" }, about)),
		h("button", { class: "quiet", onclick }, "Join", h("span", { class: "sr" }, ` ${room.name}`)));
}
