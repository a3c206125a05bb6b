// One entry of a room, as it looks.

import { $, avatar, h } from "./dom.js";
import { exactTime, timeOf } from "./format.js";
import { remove as discard, retry } from "./outbox.js";
import { FRAME } from "./protocol.js";

const ADDRESS = /\bhttps?:\/\/[^\s<>"'`]+/gi;

// A text with its web addresses clickable: http and https, everything else stays text.
export function linked(text) {
	const parts = [];
	let end = 0;
	for (const { 0: found, index } of text.matchAll(ADDRESS)) {
		const href = trimmed(found);
		if (!URL.canParse(href)) continue;
		parts.push(text.slice(end, index), h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, href));
		end = index + href.length;
	}
	return [...parts, text.slice(end)];
}

// Without what ends a sentence, or a bracket that was opened before.
function trimmed(address) {
	const last = address.at(-1);
	const opening = { ")": "(", "]": "[", "}": "{" }[last];
	const unopened = opening && address.split(last).length > address.split(opening).length;
	return unopened || /[.,:;!?*_~]/.test(last) ? trimmed(address.slice(0, -1)) : address;
}

// entry: {at, frame}, or {at, item} of the outbox. look: {own, head, day}.
export function row({ at, frame, item }, { own, head, day }) {
	const name = frame?.username;
	const title = exactTime(at);
	const line = day ? h("p", { class: "day" }, day) : null;
	if (frame && frame.type !== FRAME.MESSAGE) {
		const what = frame.type === FRAME.MEMBER ? [h("bdi", null, name), ` ${frame.action}`] : ["The room was created"];
		return h("li", null, line, h("p", { class: "happened", title }, ...what));
	}
	const robot = name === "robot";
	const time = h("time", { datetime: at.toISOString(), title }, timeOf(at));
	const by = own ? h("span", { class: "sr" }, "You ") : h("bdi", { class: "name" }, name);
	const body = h("div", { class: "body" },
		head ? h("p", { class: "by" }, by, robot ? h("span", { class: "tag" }, "bot") : null, time)
			: h("span", { class: "sr" }, own ? "You: " : `${name}: `),
		h("p", { class: frame && !frame.seq ? "bubble command" : "bubble", dir: "auto", title }, ...linked(item?.text ?? frame.chatmessage)),
		item && state(item));
	const kind = own ? "own" : robot ? "robot" : "";
	return h("li", { class: `${kind} ${head ? "head" : ""} ${item?.state ?? ""}` }, line,
		h("div", { class: "message" }, head && !own ? avatar(name, robot) : null, body));
}

function state({ state, error, clientId }) {
	if (state !== "failed") return h("p", { class: "state" }, state === "sent" ? "Sent" : "Sending…");
	const button = (text, act) => h("button", { class: "link", onclick: () => {
		act(clientId);
		$("message").focus();
	} }, text);
	return h("div", { class: "state" }, h("span", { class: "wrong" }, `Not sent. ${error}`),
		button("Retry", retry), button("Discard", discard));
}
