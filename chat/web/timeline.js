// The messages of the open room. The document holds a window of its log, which moves as the user scrolls. Whatever
// changes, what the user looks at stays in its place, unless the timeline is pinned to its bottom.

import { $, h, isVisible, listen, onVisible, setText } from "./dom.js";
import { on } from "./events.js";
import { count, dayName, dayOf } from "./format.js";
import { renderEntry } from "./message.js";
import { itemsOf } from "./outbox.js";
import { FRAME } from "./protocol.js";
import { loadOlder, markRead, me } from "./store.js";

const MAX_ROWS = 240;
const STEP_ROWS = 80; // the window moves by so many
const NEAR_EDGE_PX = 800; // distance from the window's edge at which it moves
const BOTTOM_TOLERANCE_PX = 48; // distance from the bottom that still counts as the bottom
const GROUP_MS = 60_000; // messages of one author within the same minute share their head

const scroller = $("scroller");
const list = $("messages");
const renderedRows = new Map(); // key of an entry → {node, fingerprint}: what the document holds
let room, log, logFirst; // what was rendered last
let entries = [], low, high; // the window: entries[low] to entries[high - 1]
let pinnedToBottom, lastScrollTop, newBelow, renderRequest;

// Shows a room from its end, or nothing.
export function show(next) {
	room = next;
	log = null;
	renderedRows.clear();
	list.replaceChildren();
	setText("top", "");
	scroller.setAttribute("aria-label", room ? `Messages in ${room.name}` : "Messages");
	scrollToEnd();
}

export function scrollToEnd() {
	pinnedToBottom = true;
	render();
}

on("log", (id) => {
	if (id === room?.id) renderRequest ??= requestAnimationFrame(render);
});
on("message", (where) => {
	if (where === room && !pinnedToBottom) newBelow += 1;
});
listen("pill", "click", () => {
	scrollToEnd();
	$("message").focus({ preventScroll: true });
});
listen("scroller", "scroll", onScroll);
onVisible(updateRead);
// The size changes with a phone's keyboard, a growing message box, a turned screen.
new ResizeObserver(() => pinnedToBottom && scrollDown()).observe(scroller);

function onScroll() {
	if (!room) return;
	const { scrollTop, scrollHeight, clientHeight } = scroller;
	const below = scrollHeight - clientHeight - scrollTop;
	if (high === entries.length && below < BOTTOM_TOLERANCE_PX) pinnedToBottom = true;
	else if (scrollTop < lastScrollTop) pinnedToBottom = false; // only the user scrolls up, a change of size does not
	lastScrollTop = scrollTop;
	if (scrollTop < NEAR_EDGE_PX && low > 0) moveWindow(-STEP_ROWS);
	else if (below < NEAR_EDGE_PX && high < entries.length) moveWindow(STEP_ROWS);
	else updateEdges();
}

function moveWindow(by) {
	if (by < 0) {
		low = Math.max(0, low + by);
		high = Math.min(high, low + MAX_ROWS);
	} else {
		high = Math.min(entries.length, high + by);
		low = Math.max(low, high - MAX_ROWS);
	}
	render();
}

function render() {
	renderRequest = null;
	if (!room) return;
	const items = itemsOf(room.id).map((item) => ({ key: item.requestId, at: item.at, item }));
	entries = [...room.log.entries, ...items];
	updateWindow();
	const anchor = pinnedToBottom ? null : scrollAnchor();
	renderRows();
	if (pinnedToBottom) scrollDown();
	else if (anchor?.node.isConnected) scroller.scrollTop += anchor.node.getBoundingClientRect().top - anchor.top;
	// At the very top no further scroll event would come.
	if (!pinnedToBottom && low > 0 && scroller.scrollTop < NEAR_EDGE_PX) moveWindow(-STEP_ROWS);
	else updateEdges();
}

// Keeps the window on the same entries, although older ones may have come before them, or the log may have begun anew.
function updateWindow() {
	if (log !== room.log) pinnedToBottom = true;
	log = room.log;
	if (pinnedToBottom) {
		high = entries.length;
		low = Math.max(0, high - STEP_ROWS);
		logFirst = log.first;
		return;
	}
	if (log.first !== logFirst) {
		const key = list.firstElementChild?.dataset.key;
		const moved = entries.findIndex((entry) => String(entry.key) === key) - low;
		low += moved;
		high += moved;
	}
	logFirst = log.first;
	high = Math.min(entries.length, Math.max(high, low + MAX_ROWS));
}

// The first row in sight and its position.
function scrollAnchor() {
	const edge = scroller.getBoundingClientRect().top;
	for (const node of list.children) {
		const { top, bottom } = node.getBoundingClientRect();
		if (bottom > edge) return { node, top };
	}
}

// Makes the document's rows those of the window; rows whose fingerprint is the same are kept.
function renderRows() {
	const wanted = new Set();
	let next = list.firstElementChild;
	for (let index = low; index < high; index += 1) {
		const entry = entries[index];
		const { key, item } = entry;
		const layout = layoutOf(entry, entries[index - 1]);
		const fingerprint = JSON.stringify([layout, item?.state]);
		const rendered = renderedRows.get(key);
		let node = rendered?.node;
		if (rendered?.fingerprint !== fingerprint) {
			node = renderEntry(entry, layout);
			node.dataset.key = key;
			if (rendered?.node === next) next = next?.nextElementSibling;
			rendered?.node.remove();
			renderedRows.set(key, { node, fingerprint });
		}
		if (node === next) next = next.nextElementSibling;
		else list.insertBefore(node, next);
		wanted.add(key);
	}
	for (const [key, { node }] of renderedRows) {
		if (wanted.has(key)) continue;
		node.remove();
		renderedRows.delete(key);
	}
}

// How an entry looks depends on the one before it: entries are grouped by author and time, and days by a line.
function layoutOf(entry, previous) {
	const day = (!previous || dayOf(previous.at) !== dayOf(entry.at)) && dayName(entry.at);
	return { isOwn: authorId(entry) === me.id, startsGroup: day || groupOf(previous) !== groupOf(entry), day };
}

const authorId = ({ item, frame }) => (item ? me.id : frame.userId);
const groupOf = (entry) =>
	[entry.item ? FRAME.MESSAGE : entry.frame.type, authorId(entry), Math.floor(entry.at / GROUP_MS)].join();

// Updates what stands above the first row and over the last one.
function updateEdges() {
	const isAtBeginning = log.first <= 1 && low === 0;
	const isEmpty = isAtBeginning && !entries.some(({ item, frame }) => item || frame.type === FRAME.MESSAGE);
	$("top").className = isEmpty ? "empty-room" : "";
	$("top").replaceChildren(
		h("span", null, room.error ? "Older messages could not be loaded. "
			: isAtBeginning ? `This is the beginning of ${room.name}.` : "Loading older messages…"),
		isEmpty ? "Say hello, or ask the bot for a share price: /stock=AAPL.US" : "");
	if (room.error) $("top").append(h("button", { class: "link", onclick: () => loadOlder(room) }, "Try again"));
	if (low === 0 && log.first > 1 && !room.error && scroller.scrollTop < NEAR_EDGE_PX) loadOlder(room);
	updateRead();
	$("pill").hidden = pinnedToBottom;
	$("pill").className = newBelow ? "unread" : "";
	setText("pill-text", newBelow ? count(newBelow, "new message") : "Jump to the latest");
}

// What is visible at the end of the room has been read.
function updateRead() {
	if (!room || !pinnedToBottom || !isVisible()) return;
	newBelow = 0;
	markRead(room);
}

function scrollDown() {
	scroller.scrollTop = scroller.scrollHeight;
	lastScrollTop = scroller.scrollTop;
}
