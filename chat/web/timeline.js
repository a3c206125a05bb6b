// The messages of the open room: a window of its log, which moves with scrolling. Whatever changes, what the reader looks
// at stays where it is, unless he is at the end.

import { $, h, listen, onShown, text, visible } from "./dom.js";
import { on } from "./events.js";
import { count, dayName, dayOf } from "./format.js";
import { row } from "./message.js";
import { sending } from "./outbox.js";
import { FRAME } from "./protocol.js";
import { me, older, read } from "./store.js";

const ROWS = 240;
const STEP = 80; // rows that the window moves by
const NEAR = 800; // pixels from its edge, at which it moves
const AT_END = 48; // pixels that still count as the end

const scroller = $("scroller");
const list = $("messages");
const drawn = new Map(); // key → {node, print}: what the document holds
let room, log, all = [], first, low, high; // the window: all[low] to all[high - 1]
let stuck, top, news, frame;

// Shows a room, from its end.
export function show(next) {
	room = next;
	log = null;
	drawn.clear();
	list.replaceChildren();
	text("top", "");
	scroller.setAttribute("aria-label", room ? `Messages in ${room.name}` : "Messages");
	toEnd();
}

export function toEnd() {
	stuck = true;
	draw();
}

on("log", (id) => {
	if (id === room?.id) frame ??= requestAnimationFrame(draw);
});
on("heard", (where) => {
	if (where === room && !stuck) news += 1;
});
listen("pill", "click", () => {
	toEnd();
	$("message").focus({ preventScroll: true });
});
listen("scroller", "scroll", scrolled);
onShown(seen);
// A phone's keyboard, a growing box, a turned screen.
new ResizeObserver(() => stuck && down()).observe(scroller);

function scrolled() {
	if (!room) return;
	const { scrollTop, scrollHeight, clientHeight } = scroller;
	const below = scrollHeight - clientHeight - scrollTop;
	if (high === all.length && below < AT_END) stuck = true;
	else if (scrollTop < top) stuck = false; // only readers go up, a change of size does not
	top = scrollTop;
	if (scrollTop < NEAR && low > 0) move(-STEP);
	else if (below < NEAR && high < all.length) move(STEP);
	else edges();
}

function move(by) {
	if (by < 0) {
		low = Math.max(0, low + by);
		high = Math.min(high, low + ROWS);
	} else {
		high = Math.min(all.length, high + by);
		low = Math.max(low, high - ROWS);
	}
	draw();
}

function draw() {
	frame = null;
	if (!room) return;
	const items = sending(room.id).map((item) => ({ key: item.clientId, at: item.at, item }));
	all = [...room.log.entries, ...items];
	follow();
	const anchor = stuck ? null : looked();
	rows();
	if (stuck) down();
	else if (anchor?.node.isConnected) scroller.scrollTop += anchor.node.getBoundingClientRect().top - anchor.top;
	if (!stuck && low > 0 && scroller.scrollTop < NEAR) move(-STEP); // at the very top nothing scrolls
	else edges();
}

// Older events may have come before the window; or the log began anew.
function follow() {
	if (log !== room.log) stuck = true;
	log = room.log;
	if (stuck) {
		high = all.length;
		low = Math.max(0, high - STEP);
		first = log.first;
		return;
	}
	if (log.first !== first) {
		const key = list.firstElementChild?.dataset.key;
		const moved = all.findIndex((entry) => String(entry.key) === key) - low;
		low += moved;
		high += moved;
	}
	first = log.first;
	high = Math.min(all.length, Math.max(high, low + ROWS));
}

function looked() {
	const edge = scroller.getBoundingClientRect().top;
	for (const node of list.children) {
		const { top, bottom } = node.getBoundingClientRect();
		if (bottom > edge) return { node, top };
	}
}

function rows() {
	const wanted = new Set();
	let place = list.firstElementChild;
	for (let index = low; index < high; index += 1) {
		const entry = all[index];
		const { key, item } = entry;
		const look = lookOf(entry, all[index - 1]);
		const print = JSON.stringify([look, item?.state]);
		const before = drawn.get(key);
		let node = before?.node;
		if (before?.print !== print) {
			node = row(entry, look);
			node.dataset.key = key;
			if (before?.node === place) place = place?.nextElementSibling;
			before?.node.remove();
			drawn.set(key, { node, print });
		}
		if (node === place) place = place.nextElementSibling;
		else list.insertBefore(node, place);
		wanted.add(key);
	}
	for (const [key, { node }] of drawn) {
		if (wanted.has(key)) continue;
		node.remove();
		drawn.delete(key);
	}
}

// An entry's looks depend on the one before it: grouped by author and minute.
function lookOf(entry, before) {
	const group = ({ at, item, frame }) => [item ? FRAME.MESSAGE : frame.type, author({ item, frame }), Math.floor(at / 60_000)].join();
	const day = (!before || dayOf(before.at) !== dayOf(entry.at)) && dayName(entry.at);
	return { own: author(entry) === me.id, head: day || group(before) !== group(entry), day };
}

const author = ({ item, frame }) => (item ? me.id : frame.userId);

// What stands above the first row and over the last.
function edges() {
	const whole = log.first <= 1 && low === 0;
	const quiet = whole && !all.some(({ item, frame }) => item || frame.type === FRAME.MESSAGE);
	$("top").className = quiet ? "quiet-room" : "";
	$("top").replaceChildren(
		h("span", null, room.error ? "Older messages could not be loaded. " : whole ? `This is the beginning of ${room.name}.` : "Loading older messages…"),
		quiet ? "Say hello, or ask the robot: /stock=AAPL.US" : "");
	if (room.error) $("top").append(h("button", { class: "link", onclick: () => older(room) }, "Try again"));
	if (low === 0 && log.first > 1 && !room.error && scroller.scrollTop < NEAR) older(room);
	seen();
	$("pill").hidden = stuck;
	$("pill").className = news ? "news" : "";
	text("pill-text", news ? count(news, "new message") : "To the latest");
}

// What is shown at the end of the room has been read.
function seen() {
	if (!room || !stuck || !visible()) return;
	news = 0;
	read(room);
}

function down() {
	scroller.scrollTop = scroller.scrollHeight;
	top = scroller.scrollTop;
}
