// How one entry of a room's log looks.

import { $, avatar, h } from "./dom.js";
import { exactTime, timeOf } from "./format.js";
import { remove, retry } from "./outbox.js";
import { FRAME } from "./protocol.js";

const BOT_USERNAME = "robot";
const URL_PATTERN = /\bhttps?:\/\/[^\s<>"'`]+/gi;

// Makes links of the http and https addresses in a text; everything else stays text.
export function linkify(text) {
	const parts = [];
	let end = 0;
	for (const { 0: match, index } of text.matchAll(URL_PATTERN)) {
		const href = trimUrl(match);
		if (!URL.canParse(href)) continue;
		parts.push(text.slice(end, index), h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, href));
		end = index + href.length;
	}
	return [...parts, text.slice(end)];
}

// Removes what ends the sentence, or closes a bracket that was opened before the address.
function trimUrl(url) {
	const last = url.at(-1);
	const opening = { ")": "(", "]": "[", "}": "{" }[last];
	const isUnopened = opening && url.split(last).length > url.split(opening).length;
	return isUnopened || /[.,:;!?*_~]/.test(last) ? trimUrl(url.slice(0, -1)) : url;
}

// entry: {at, frame} of a log, or {at, item} of the outbox. layout: {isOwn, startsGroup, day}.
export function renderEntry({ at, frame, item }, { isOwn, startsGroup, day }) {
	const name = frame?.username;
	const title = exactTime(at);
	const dayLine = day ? h("p", { class: "day" }, day) : null;
	if (frame && frame.type !== FRAME.MESSAGE) {
		const what = frame.type === FRAME.MEMBER ? [h("bdi", null, name), ` ${frame.action}`] : ["The room was created"];
		return h("li", null, dayLine, h("p", { class: "event", title }, ...what));
	}
	const text = item?.text ?? frame.chatmessage;
	const isBot = name === BOT_USERNAME;
	const isCommand = frame && !frame.seq;
	const time = h("time", { datetime: at.toISOString(), title }, timeOf(at));
	const author = isOwn ? h("span", { class: "sr-only" }, "You ") : h("bdi", { class: "name" }, name);
	const body = h("div", { class: "body" },
		startsGroup ? h("p", { class: "byline" }, author, isBot ? h("span", { class: "tag" }, "bot") : null, time)
			: h("span", { class: "sr-only" }, isOwn ? "You: " : `${name}: `),
		h("p", { class: isCommand ? "bubble command" : "bubble", dir: "auto", title }, ...linkify(text)),
		item && renderState(item));
	const kind = isOwn ? "own" : isBot ? "bot" : "";
	return h("li", { class: `${kind} ${startsGroup ? "group-start" : ""} ${item?.state ?? ""}` }, dayLine,
		h("div", { class: "message" }, startsGroup && !isOwn ? avatar(name, isBot) : null, body));
}

function renderState({ state, error, requestId }) {
	if (state !== "failed") return h("p", { class: "state" }, state === "sent" ? "Sent" : "Sending…");
	const button = (label, action) => h("button", { class: "link", onclick: () => {
		action(requestId);
		$("message").focus();
	} }, label);
	return h("div", { class: "state" }, h("span", { class: "wrong" }, `Not sent. ${error}`),
		button("Retry", retry), button("Discard", remove));
}
