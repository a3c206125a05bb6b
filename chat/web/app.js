// The chat of one session: shows the room that the address bar names, and says how the connection stands.

import { focus, write } from "./composer.js";
import { hurry } from "./connection.js";
import { $, listen, onShown, say, text } from "./dom.js";
import { on } from "./events.js";
import * as people from "./members.js";
import { find } from "./room_dialog.js";
import { drawer, mark } from "./sidebar.js";
import * as keep from "./storage.js";
import * as store from "./store.js";
import * as timeline from "./timeline.js";

const BLINK_MS = 700; // shorter is not worth a word
const SPEECH_MS = 600; // a busy room is read out in portions

let room, routing, lost, ticker, speaker, speech = [];

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
		text("announcer", speech.length > 3 ? `${speech.length} new messages` : speech.join("\n"));
		speech = [];
		speaker = null;
	}, SPEECH_MS);
});
window.addEventListener("hashchange", route);
onShown(() => store.greeted && store.refresh().catch(() => {})); // rooms made in another tab
listen("find", "click", find);
listen("hurry", "click", hurry);
listen("empty-find", "click", find);
listen("join", "click", () => store.join(room).then(focus, ({ message }) => text("join-text", message)));
$("app").hidden = false;
text("room-name", "Connecting…");
store.start();

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
	text("room-name", room.name);
	$("empty").hidden = true;
	if (fresh) for (const view of [store, timeline, people]) view.show(room);
	if (fresh) write(room);
	mark(room);
	drawer(false);
	facts();
	// On a touch screen the focus would bring up the keyboard.
	if (room.member && matchMedia("(hover: hover)").matches) focus();
	else $("room-name").focus();
}

function facts() {
	say("room-topic", room.topic);
	$("composer").hidden = !room.member;
	$("join-bar").hidden = room.member;
	text("join-text", `You are reading ${room.name} as a guest.`);
}

function none(title, words) {
	room = null;
	for (const view of [store, timeline, people]) view.show();
	mark();
	text("room-name", title);
	say("room-topic");
	$("composer").hidden = $("join-bar").hidden = true;
	$("empty").hidden = false;
	text("empty-text", words);
}

function linked({ name, until, attempt }) {
	clearInterval(ticker);
	if (name === "ended") return keep.leave({ ended: true });
	if (name === "online") {
		lost = null;
		$("banner").hidden = true;
		return;
	}
	if (name === "connecting" && !attempt) return;
	lost ??= Date.now();
	const draw = () => {
		if (Date.now() - lost < BLINK_MS) return;
		const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
		const why = navigator.onLine ? "The server cannot be reached." : "You are offline.";
		text("banner-text", `${why} ${until ? `Trying again in ${seconds} s.` : "Trying to connect…"}`);
		$("banner").hidden = false;
	};
	draw();
	ticker = setInterval(draw, 250);
}
