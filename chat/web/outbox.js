// What the user said and the log does not show yet. Through every try, connection and reload it keeps its clientId: so it
// is stored once.
//
//   waiting ⇄ flying → sent (the echo takes it away)        failed: retry or discard

import { send } from "./connection.js";
import { tell } from "./events.js";
import { FRAME } from "./protocol.js";
import { keepUnsent, unsent } from "./storage.js";

const FLYING = 32; // unanswered at a time: far below what the server allows

let items = unsent().map((item) => ({ ...item, at: new Date(item.at) }));
let quietUntil = 0;

export const sending = (roomId) => items.filter((item) => item.roomId === roomId);
export const find = (clientId) => items.find((item) => item.clientId === clientId);

export function add(roomId, text) {
	// Not crypto.randomUUID: it is missing over plain http from another machine.
	const clientId = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
	items.push({ clientId, roomId, text });
	retry(clientId);
}

export const retry = (clientId) => change(find(clientId), { state: "waiting", at: new Date() });

export function remove(clientId) {
	const item = find(clientId);
	if (!item) return;
	items = items.filter((each) => each !== item);
	change(item, {});
}

// The echo will take its place.
export const stored = (item, { createdAt }) => change(item, { state: "sent", at: new Date(createdAt) });

// The log begins anew: of what is stored there will be no echo.
export const passed = (roomId) => sending(roomId).forEach(({ state, clientId }) => state === "sent" && remove(clientId));

export function refused({ clientId, code, retryMs = 1000 }, error) {
	const item = find(clientId);
	if (item?.state !== "flying") return;
	const again = ["rate_limited", "unknown"].includes(code); // unknown: ask again, and learn
	if (again) {
		quietUntil = Date.now() + retryMs;
		setTimeout(pump, retryMs + 10);
	}
	change(item, { error, state: again ? "waiting" : "failed" });
}

// The connection is gone: what is on its way goes again after the next hello.
export function grounded() {
	for (const item of items) if (item.state === "flying") change(item, { state: "waiting" });
}

export function pump() {
	let flying = items.filter(({ state }) => state === "flying").length;
	for (const item of items) {
		if (item.state !== "waiting") continue;
		if (flying >= FLYING || Date.now() < quietUntil) return;
		const { clientId, roomId, text } = item;
		if (!send({ type: FRAME.MESSAGE, chatroomId: roomId, chatmessage: text, clientId })) return;
		item.state = "flying";
		flying += 1;
	}
}

function change(item, facts) {
	Object.assign(item, facts);
	pump();
	const left = items.filter(({ state }) => state !== "sent");
	keepUnsent(left.map((each) => ({ ...each, state: each.state === "failed" ? "failed" : "waiting" })));
	tell("log", item.roomId);
}
