// The messages of the open room. However long its log is, the document holds a window of at most ROWS of it; scrolling
// moves the window. Whatever changes, what the reader looks at stays where it is, unless he is at the end.

import { on } from "./bus.js";
import { $, h, on as listen } from "./dom.js";
import { row } from "./message.js";
import { sending } from "./outbox.js";
import { me, older, read, unread } from "./store.js";
import { count, dayName, dayOf } from "./words.js";

const ROWS = 240;
const STEP = 80; // rows that the window moves by
const NEAR = 800; // pixels from an edge at which it moves
const AT_END = 48; // pixels from the end that still count as the end

const scroller = $("scroller");
const list = $("messages");
const drawn = new Map(); // key → {node, print}: what the document holds
let room, log, all = [], low, high; // the window: all[low] to all[high - 1]
let stuck, top, news, freshAfter, frame;

// Shows a room from its end, or nothing.
export function show(next) {
	room = next;
	log = null;
	drawn.clear();
	list.replaceChildren();
	$("top").textContent = "";
	// The line between what was read and what was not stays where it was as long as the room is open.
	freshAfter = room && unread(room) ? room.readNo : null;
	toEnd();
}

export function toEnd() {
	stuck = true;
	draw();
}

// The user has said something.
export function said() {
	freshAfter = null;
	toEnd();
}

on("log", (id) => {
	// A hidden tab draws nothing; what came meanwhile is drawn when it is shown.
	if (id === room?.id) frame ??= requestAnimationFrame(draw);
});
on("heard", (where) => {
	if (where === room && !stuck) news += 1;
});
listen("pill", "click", () => {
	toEnd();
	$("message").focus({ preventScroll: true });
});
scroller.addEventListener("scroll", scrolled, { passive: true });
for (const target of [document, window]) target.addEventListener(target === document ? "visibilitychange" : "focus", seen);
// The keyboard of a phone, a growing message box, a turned screen.
new ResizeObserver(() => stuck && down()).observe(scroller);

function scrolled() {
	if (!room) return;
	const { scrollTop, scrollHeight, clientHeight } = scroller;
	const below = scrollHeight - clientHeight - scrollTop;
	if (high === all.length && below < AT_END) stuck = true;
	else if (scrollTop < top) stuck = false; // only the reader goes up: a change of size does not count
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
	edges();
}

// Where the window is now. Older events may have come before it; or the log began anew.
function follow() {
	if (log !== room.log) stuck = true;
	log = room.log;
	if (stuck) {
		high = all.length;
		low = Math.max(0, high - STEP);
		return;
	}
	const first = list.firstElementChild?.dataset.key;
	const moved = all.findIndex(({ key }, index) => index >= low && String(key) === first) - low;
	if (drawn.size && moved > 0 && !drawn.has(all[low]?.key)) {
		low += moved;
		high += moved;
	}
	high = Math.min(all.length, Math.max(high, low + ROWS));
}

// The row that the reader looks at, and where it is.
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

// What an entry's looks depend on, beside itself: the one before it. Grouped by author and minute.
function lookOf(entry, before) {
	const group = ({ at, item, frame }) => [item ? 1 : frame.type, author({ item, frame }), Math.floor(at / 60_000)].join();
	const day = (!before || dayOf(before.at) !== dayOf(entry.at)) && dayName(entry.at);
	const fresh = freshAfter !== null && entry.frame?.messageNo === freshAfter + 1;
	return { own: author(entry) === me.id, head: day || fresh || group(before) !== group(entry), day, fresh };
}

const author = ({ item, frame }) => (item ? me.id : frame.userId);

// What stands above the first row, the pill over the last, and what follows from where the reader is.
function edges() {
	const whole = log.first <= 1 && low === 0;
	const quiet = whole && !all.some(({ item, frame }) => item || frame.type === 1);
	const again = () => {
		room.error = null;
		edges();
	};
	$("top").className = quiet ? "quiet-room" : "";
	$("top").replaceChildren(
		...(room.error ? [h("span", { class: "wrong" }, "Older messages could not be loaded. "), h("button", { class: "link", onclick: again }, "Try again")]
			: whole ? [h("strong", null, `This is the beginning of ${room.name}.`), quiet ? " Say hello, or ask the robot: /stock=AAPL.US" : ""]
			: ["Loading older messages…"]));
	if (low === 0 && log.first > 1 && !room.error && scroller.scrollTop < NEAR) older(room);
	seen();
	$("pill").hidden = stuck;
	$("pill").className = news ? "news" : "";
	$("pill-text").textContent = news ? count(news, "new message") : "To the latest";
}

// What is shown at the end of the room has been read.
function seen() {
	if (!room || !stuck || document.visibilityState !== "visible") return;
	news = 0;
	read(room);
}

function down() {
	scroller.scrollTop = scroller.scrollHeight;
	top = scroller.scrollTop;
}
