// The box in which the user writes, with a draft for each room and the list of commands.

import * as connection from "./connection.js";
import { $, h, listen, setText } from "./dom.js";
import { on } from "./events.js";
import { count } from "./format.js";
import { add } from "./outbox.js";
import { loadDraft, saveDraft } from "./storage.js";
import { limits } from "./store.js";
import { scrollToEnd } from "./timeline.js";

const COMMANDS = [{ name: "/stock", usage: "/stock=CODE", about: "the price of a share, for example /stock=AAPL.US" }];

const box = $("message");
let room, suggestions = [];

export function openRoom(next) {
	room = next;
	box.value = loadDraft(room.id);
	box.placeholder = `Message ${room.name}`;
	box.setAttribute("aria-label", box.placeholder);
	onInput();
}

export const focus = () => box.focus({ preventScroll: true });

on("connection", updateHint);
box.addEventListener("blur", () => suggest([]));
box.addEventListener("input", onInput);
box.addEventListener("keydown", (event) => {
	const { key } = event;
	if (event.isComposing) return; // this Enter ends a word of an input method
	if (suggestions.length && (key === "Enter" || key === "Tab")) accept(suggestions[0]);
	else if (suggestions.length && key === "Escape") suggest([]);
	else if (key === "Enter" && !event.shiftKey) submit();
	else return;
	event.preventDefault();
});
listen("composer", "submit", (event) => {
	event.preventDefault();
	submit();
});

function onInput() {
	saveDraft(room.id, box.value);
	box.style.height = "auto";
	box.style.height = `${box.scrollHeight}px`;
	updateHint();
	suggest(/^\/\w*$/.test(box.value) ? COMMANDS.filter(({ name }) => name.startsWith(box.value)) : []);
}

function submit() {
	const text = cleanText();
	focus();
	if (!text || charsLeft(text) < 0) return;
	box.value = "";
	onInput();
	add(room.id, text);
	scrollToEnd();
}

// The text in the form that the server accepts: line breaks are the only control characters in it.
const cleanText = () => box.value.replaceAll("\t", "    ").replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/g, "").trim();
const charsLeft = (text) => limits.messageChars - [...text].length;

function updateHint() {
	const text = cleanText();
	const left = charsLeft(text);
	const [, name] = /^(\/\w{1,32})=.*$/.exec(text) ?? [];
	const command = COMMANDS.find((each) => each.name === name);
	setText("composer-hint",
		left < 0 ? `The message is ${count(-left, "character")} too long.`
		: command ? `${command.usage} – ${command.about}`
		: name ? `Unknown command. Try ${COMMANDS.map(({ usage }) => usage).join(", ")}.`
		: connection.state.name === "online" ? "" : "Messages will be sent when the connection is back.");
	box.setAttribute("aria-invalid", left < 0);
}

function suggest(commands) {
	suggestions = commands;
	$("suggestions").hidden = !commands.length;
	$("suggestions").replaceChildren(...commands.map((command, index) => {
		const onmousedown = (event) => {
			event.preventDefault(); // the box keeps the focus
			accept(command);
		};
		const props = { id: `suggestion-${index}`, role: "option", "aria-selected": index === 0, onmousedown };
		return h("li", props, `${command.usage} – ${command.about}`);
	}));
	box.setAttribute("aria-activedescendant", commands.length ? "suggestion-0" : "");
}

function accept({ name }) {
	box.value = `${name}=`;
	onInput();
}
