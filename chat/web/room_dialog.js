// The dialog that finds a room to join, or creates one.

import { $, h, listen, mark, text } from "./dom.js";
import { count } from "./format.js";
import { create, join, refresh } from "./store.js";

const dialog = $("finder");

listen("finder-close", "click", () => dialog.close());
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
	$("creator").reset();
	mark({}, "new-name");
	tell("Loading…");
	dialog.showModal();
	try {
		const others = (await refresh()).filter(({ member }) => !member);
		others.sort((a, b) => a.name.localeCompare(b.name));
		tell(others.length ? "" : "You are in every room there is.", ...others.map(item));
	} catch ({ message }) {
		tell(message);
	}
}

function go(room) {
	dialog.close();
	location.hash = `#/rooms/${room.id}`;
}

function tell(words, ...items) {
	text("finder-note", words);
	$("finder-list").replaceChildren(...items);
}

function item(room) {
	const onclick = () => join(room).then(() => go(room), ({ message }) => text("finder-note", message));
	const about = [room.topic, count(room.members, "person", "people")].filter(Boolean).join(" · ");
	return h("li", null,
		h("div", null, h("bdi", { class: "name" }, room.name), h("p", { class: "note" }, about)),
		h("button", { class: "quiet", onclick }, "Join", h("span", { class: "sr" }, ` ${room.name}`)));
}
