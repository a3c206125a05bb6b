// The chat of one session: follows the address bar, shows what it names, and says how the connection stands.

import { on } from "./bus.js";
import { focus, write } from "./composer.js";
import { $, h, on as listen, say } from "./dom.js";
import { find } from "./finder.js";
import * as keep from "./keep.js";
import * as people from "./people.js";
import { drawer, mark } from "./side.js";
import * as store from "./store.js";
import * as timeline from "./timeline.js";
import { hurry } from "./wire.js";

const BLINK_MS = 700; // a connection that is back by then was not worth a word
const SPEECH_MS = 600; // a busy room is read out in portions

let room, routing, ticker, speaker, speech = [];

on("link", linked);
on("rooms", () => {
	if (!store.greeted || routing !== undefined) return;
	if (room && store.rooms.get(room.id) === room) facts();
	else if (room !== null) route();
});
on("heard", (where, { username, chatmessage }) => {
	if (where !== room) return;
	speech.push(`${username}: ${chatmessage}`);
	speaker ??= setTimeout(() => {
		$("announcer").textContent = speech.length > 3 ? `${speech.length} new messages` : speech.join("\n").slice(0, 500);
		speech = [];
		speaker = null;
	}, SPEECH_MS);
});
window.addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => {
	// Rooms made in another tab.
	if (store.greeted && document.visibilityState === "visible") store.refresh().catch(() => {});
});
listen("find", "click", find);
listen("skip", "click", () => (room?.member ? focus() : $("room-name").focus()));
listen("join", "click", () => store.join(room).then(focus, ({ message }) => ($("join-text").textContent = message)));
$("app").hidden = false;
none("Connecting…");
store.start();

// --- which room ---------------------------------------------------------------------------------------

async function route() {
	const asked = Number(/^#\/rooms\/(\d{1,15})$/.exec(location.hash)?.[1]);
	if (!asked) {
		const mine = store.mine();
		const first = mine.find(({ id }) => id === keep.lastRoom()) ?? mine[0];
		if (!first) return none("You are in no room", "Find one to join, or create your own.");
		history.replaceState(null, "", `#/rooms/${first.id}`); // not one more step to go back through
		return route();
	}
	routing = asked;
	let found = store.rooms.get(asked);
	try {
		if (!found?.member) found = await store.look(asked);
	} catch ({ message }) {
		return none("This room could not be opened", message);
	} finally {
		if (routing === asked) routing = undefined;
	}
	if (routing) return; // the reader went on
	if (found) enter(found);
	else none("There is no such room", "It may have been closed, or the link is wrong.");
}

function enter(next) {
	const fresh = room !== next;
	room = next;
	keep.keepLastRoom(room.id);
	$("room-name").textContent = room.name;
	$("empty").hidden = true;
	if (fresh) {
		store.show(room);
		timeline.show(room);
		write(room);
		people.show(room);
	}
	mark(room);
	drawer(false);
	facts();
	// On a touch screen the focus would bring up the keyboard.
	if (room.member && matchMedia("(hover: hover)").matches) focus();
	else $("room-name").focus();
}

// What may change while the room is open.
function facts() {
	say("room-topic", room.topic);
	$("composer").hidden = !room.member;
	$("join-bar").hidden = room.member;
	$("join-text").textContent = `You are reading ${room.name} as a guest.`;
}

// A page without a room, and why.
function none(title, text) {
	room = text ? null : undefined;
	store.show();
	timeline.show();
	people.show();
	mark();
	$("room-name").textContent = "";
	say("room-topic");
	$("composer").hidden = $("join-bar").hidden = true;
	$("empty").hidden = false;
	$("empty").replaceChildren(h("h2", null, title));
	if (text) $("empty").append(h("p", null, text), h("button", { class: "primary", onclick: find }, "Find or create a room"));
}

// --- how the connection stands --------------------------------------------------------------------------

function linked({ name, until, attempt }) {
	clearInterval(ticker);
	if (name === "ended") return keep.leave({ ended: true });
	if (name === "online") return $("banner").replaceChildren();
	if (name === "broken") return warn("This page no longer fits its server. Reload it.");
	if (name === "connecting" && !attempt) return;
	const since = Date.now();
	const shown = $("banner").hasChildNodes();
	const draw = () => {
		if (!shown && Date.now() - since < BLINK_MS) return;
		const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
		const why = navigator.onLine ? "The server cannot be reached." : "You are offline.";
		warn(`${why} ${until ? `Trying again in ${seconds} s.` : "Trying to connect…"}`);
	};
	draw();
	ticker = setInterval(draw, 250);
}

// Read out once, not at every second; its button stays the same, for who is about to press it.
function warn(text) {
	if (!$("banner").hasChildNodes()) {
		const button = h("button", { class: "link", onclick: hurry }, "Try now");
		$("banner").append(h("p", null, h("span", { class: "sr" }, "Offline"), h("span", { "aria-hidden": "true" }), " ", button));
	}
	$("banner").querySelector("[aria-hidden]").textContent = text;
}
