// The messages of this user that the log does not show yet. An item keeps its requestId through every attempt,
// connection and reload, so that the server stores it once.
//
//   waiting ⇄ in-flight → sent (until its event is in the log)        failed: the user may retry or discard

import { send } from "./connection.js";
import { emit } from "./events.js";
import { FRAME } from "./protocol.js";
import { loadUnsent, saveUnsent } from "./storage.js";

const MAX_IN_FLIGHT = 32; // items without an answer; far below the server's limit
const DEFAULT_RETRY_MS = 1_000;
const RETRY_MARGIN_MS = 10;

let items = []; // {requestId, roomId, text, state, at, error}
let blockedUntil = 0;

// Takes over what was unsent when the page was left.
export function restore() {
	// Version 1.0 stored the requestId as clientId.
	items = loadUnsent().map(({ clientId, ...item }) => ({ requestId: clientId, ...item, at: new Date(item.at) }));
}

export const itemsOf = (roomId) => items.filter((item) => item.roomId === roomId);
export const find = (requestId) => items.find((item) => item.requestId === requestId);

export function add(roomId, text) {
	// Not crypto.randomUUID: browsers have it only on localhost and over https.
	const requestId = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
	items.push({ requestId, roomId, text });
	retry(requestId);
}

export const retry = (requestId) => update(find(requestId), { state: "waiting", at: new Date() });

export function remove(requestId) {
	const item = find(requestId);
	if (!item) return;
	items = items.filter((other) => other !== item);
	update(item, {});
}

// The server has stored the item; its event will replace it.
export const markSent = (item, { createdAt }) => update(item, { state: "sent", at: new Date(createdAt) });

// Removes what is stored: the room's log begins anew, so the events will not come.
export function dropSent(roomId) {
	for (const { state, requestId } of itemsOf(roomId)) if (state === "sent") remove(requestId);
}

export function onError({ requestId, code, retryMs = DEFAULT_RETRY_MS }, error) {
	const item = find(requestId);
	if (item?.state !== "in-flight") return;
	// unknown: it may be stored, and the answer to a second attempt says so
	const isTemporary = ["rate_limited", "unknown"].includes(code);
	if (isTemporary) {
		blockedUntil = Date.now() + retryMs;
		setTimeout(flush, retryMs + RETRY_MARGIN_MS);
	}
	update(item, { error, state: isTemporary ? "waiting" : "failed" });
}

// The connection is lost: items without an answer are sent again after the next hello.
export function requeueInFlight() {
	for (const item of items) if (item.state === "in-flight") update(item, { state: "waiting" });
}

// Sends what is waiting, in order, as far as the connection and the limits allow.
export function flush() {
	let inFlight = items.filter(({ state }) => state === "in-flight").length;
	for (const item of items) {
		if (item.state !== "waiting") continue;
		if (inFlight >= MAX_IN_FLIGHT || Date.now() < blockedUntil) return;
		const { requestId, roomId, text } = item;
		if (!send({ type: FRAME.MESSAGE, chatroomId: roomId, chatmessage: text, requestId })) return;
		item.state = "in-flight";
		inFlight += 1;
	}
}

function update(item, changes) {
	Object.assign(item, changes);
	flush();
	const unsent = items.filter(({ state }) => state !== "sent");
	saveUnsent(unsent.map((each) => ({ ...each, state: each.state === "failed" ? "failed" : "waiting" })));
	emit("log", item.roomId);
}
