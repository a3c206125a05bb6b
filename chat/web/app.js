// The chat of a user who is logged in: shows the room that the address names, and how the connection stands.

import * as composer from "./composer.js";
import { retryNow } from "./connection.js";
import { $, listen, onVisible, setText, setTextOrHide } from "./dom.js";
import { on } from "./events.js";
import * as members from "./members.js";
import { openRoomDialog } from "./room_dialog.js";
import * as sidebar from "./sidebar.js";
import { loadLastRoomId, logOut, savedLogin, saveLastRoomId } from "./storage.js";
import * as store from "./store.js";
import * as timeline from "./timeline.js";

const BANNER_DELAY_MS = 700; // shorter interruptions are not mentioned
const BANNER_UPDATE_MS = 250;
const ANNOUNCE_DELAY_MS = 600; // screen readers are told of several messages at once
const MAX_ANNOUNCED = 3; // above it, only their number is announced

let room; // undefined before the first is shown, null while none is
let pendingRoomId; // of the room that is being opened
let lostSince, bannerTimer, announceTimer, announcements = [];

on("connection", onConnection);
on("rooms", () => {
	if (!store.isReady || pendingRoomId !== undefined) return;
	if (room && store.rooms.get(room.id) === room) renderFacts();
	else if (room !== null) route();
});
on("message", (where, { username, chatmessage }) => {
	if (where !== room) return;
	announcements.push(`${username}: ${chatmessage}`);
	announceTimer ??= setTimeout(() => {
		const { length } = announcements;
		setText("announcer", length > MAX_ANNOUNCED ? `${length} new messages` : announcements.join("\n"));
		announcements = [];
		announceTimer = null;
	}, ANNOUNCE_DELAY_MS);
});
window.addEventListener("hashchange", route);
onVisible(() => store.isReady && store.fetchRooms().catch(() => {})); // rooms created in another tab
listen("find-room", "click", openRoomDialog);
listen("empty-find-room", "click", openRoomDialog);
listen("retry-now", "click", retryNow);
listen("join", "click", () => store.join(room).then(composer.focus, ({ message }) => setText("join-text", message)));
$("app").hidden = false;
setText("room-name", "Connecting…");
sidebar.showUser(savedLogin.user);
store.start(savedLogin.user);

// Opens the room that the address names; without one, the room that was open last.
async function route() {
	const id = Number(/^#\/rooms\/(\d{1,15})$/.exec(location.hash)?.[1]);
	if (!id) {
		const joined = store.joinedRooms();
		const first = joined.find((each) => each.id === loadLastRoomId()) ?? joined[0];
		if (!first) return showNoRoom("You are not in a room", "Find a room to join, or create one.");
		history.replaceState(null, "", `#/rooms/${first.id}`); // no further step for the Back button
		return route();
	}
	pendingRoomId = id;
	let requested = store.rooms.get(id);
	try {
		if (!requested?.isMember) requested = await store.fetchRoom(id);
	} catch ({ message }) {
		return showNoRoom("This room could not be opened", message);
	} finally {
		if (pendingRoomId === id) pendingRoomId = undefined;
	}
	if (pendingRoomId) return; // the user has gone on to another room
	if (requested) showRoom(requested);
	else showNoRoom("There is no such room", "It may have been deleted, or the link may be wrong.");
}

function showRoom(next) {
	const isNew = room !== next;
	room = next;
	saveLastRoomId(room.id);
	setText("room-name", room.name);
	$("empty").hidden = true;
	if (isNew) {
		showInViews(room);
		composer.openRoom(room);
	}
	sidebar.setCurrent(room);
	sidebar.setDrawer(false);
	renderFacts();
	// On a touch screen the focus would bring up the keyboard.
	if (room.isMember && matchMedia("(hover: hover)").matches) composer.focus();
	else $("room-name").focus();
}

function showNoRoom(title, text) {
	room = null;
	showInViews(null);
	sidebar.setCurrent(null);
	setText("room-name", title);
	setTextOrHide("room-topic", "");
	$("composer").hidden = $("join-bar").hidden = true;
	$("empty").hidden = false;
	setText("empty-text", text);
}

function showInViews(next) {
	store.setCurrent(next);
	timeline.show(next);
	members.show(next);
}

// The topic, and whether the user may write.
function renderFacts() {
	setTextOrHide("room-topic", room.topic);
	$("composer").hidden = !room.isMember;
	$("join-bar").hidden = room.isMember;
	setText("join-text", `You are reading ${room.name} as a guest.`);
}

function onConnection({ name, until, attempt }) {
	clearInterval(bannerTimer);
	if (name === "ended") return logOut({ expired: true });
	if (name === "online") {
		lostSince = null;
		$("banner").hidden = true;
		return;
	}
	if (name === "connecting" && !attempt) return;
	lostSince ??= Date.now();
	const renderBanner = () => {
		if (Date.now() - lostSince < BANNER_DELAY_MS) return;
		const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
		const reason = navigator.onLine ? "The server cannot be reached." : "You are offline.";
		setText("banner-text", `${reason} ${until ? `Trying again in ${seconds} s.` : "Trying to connect…"}`);
		$("banner").hidden = false;
	};
	renderBanner();
	bannerTimer = setInterval(renderBanner, BANNER_UPDATE_MS);
}
