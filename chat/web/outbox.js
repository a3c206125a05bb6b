// What the user said and the log does not show yet. It keeps its clientId through every try, every connection and a
// reload: the server stores it once.
//
//   waiting ⇄ flying → sent (the echo takes it away)        failed: retry or discard

import { tell } from "./bus.js";
import { keepUnsent, unsent } from "./keep.js";
import { send } from "./wire.js";

const FLYING = 32; // unanswered at a time: far below what the server allows
const TRIES = 4; // of `unknown`, which means: ask again

let items = unsent().map((item) => ({ ...item, at: new Date(item.at), tries: 0 }));
let quietUntil = 0;

export const sending = (roomId) => items.filter((item) => item.roomId === roomId);
export const find = (clientId) => items.find((item) => item.clientId === clientId);

export function add(roomId, text) {
	// crypto.randomUUID is missing where the page comes over plain http from another machine.
	const clientId = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
	const item = { clientId, roomId, text };
	items.push(item);
	retry(clientId);
}

export const retry = (clientId) => change(find(clientId), { state: "waiting", error: null, tries: 0, at: new Date() });

// Discarded, or arrived.
export function remove(clientId) {
	const item = find(clientId);
	if (!item) return;
	items = items.filter((each) => each !== item);
	change(item, {});
}

// Stored as event `seq`: the echo will take its place.
export const stored = (item, { seq, createdAt }) => change(item, { state: "sent", error: null, seq, at: new Date(createdAt) });

// The log begins anew after event `seq`: there will be no echoes up to it.
export const passed = (roomId, seq) => sending(roomId).forEach((item) => item.seq <= seq && remove(item.clientId));

export function refused({ clientId, code, retryMs = 1000 }, error) {
	const item = find(clientId);
	if (item?.state !== "flying") return;
	const tries = item.tries + 1;
	const again = code === "rate_limited" || (code === "unknown" && tries < TRIES);
	if (again) {
		quietUntil = Date.now() + retryMs;
		setTimeout(pump, retryMs + 10);
	}
	change(item, { tries, error, state: again ? "waiting" : "failed" });
}

// The connection is gone: nobody will answer what is on its way. After the next hello it goes again.
export function grounded() {
	for (const item of items) if (item.state === "flying") change(item, { state: "waiting" });
}

// Sends what waits, in the order of its writing.
export function pump() {
	let flying = items.filter(({ state }) => state === "flying").length;
	for (const item of items) {
		if (item.state !== "waiting") continue;
		if (flying >= FLYING || Date.now() < quietUntil) return;
		const { clientId, roomId, text } = item;
		if (!send({ type: 1, chatroomId: roomId, chatmessage: text, clientId })) return;
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
