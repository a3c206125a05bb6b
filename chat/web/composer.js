// Where the user writes. Each room keeps its draft.

import { link } from "./connection.js";
import { $, h, listen, text } from "./dom.js";
import { on } from "./events.js";
import { count } from "./format.js";
import { add } from "./outbox.js";
import { draft, keepDraft } from "./storage.js";
import { limits } from "./store.js";
import { toEnd } from "./timeline.js";

const COMMANDS = [{ name: "/stock", form: "/stock=CODE", about: "a share’s price, as in /stock=AAPL.US" }];

const box = $("message");
let room, offered = [];

export function write(to) {
	room = to;
	box.value = draft(room.id);
	box.placeholder = `Message ${room.name}`;
	box.setAttribute("aria-label", box.placeholder);
	changed();
}

export const focus = () => box.focus({ preventScroll: true });

on("link", note);
box.addEventListener("blur", () => offer([]));
box.addEventListener("input", changed);
box.addEventListener("keydown", (event) => {
	const { key } = event;
	if (event.isComposing) return; // Enter that ends a word of an input method
	if (offered.length && (key === "Enter" || key === "Tab")) accept(offered[0]);
	else if (offered.length && key === "Escape") offer([]);
	else if (key === "Enter" && !event.shiftKey) say();
	else return;
	event.preventDefault();
});
listen("composer", "submit", (event) => {
	event.preventDefault();
	say();
});

function changed() {
	keepDraft(room.id, box.value);
	box.style.height = "auto";
	box.style.height = `${box.scrollHeight}px`;
	note();
	offer(/^\/\w*$/.test(box.value) ? COMMANDS.filter(({ name }) => name.startsWith(box.value)) : []);
}

function say() {
	const words = clean();
	focus();
	if (!words || left(words) < 0) return;
	box.value = "";
	changed();
	add(room.id, words);
	toEnd();
}

// As the server takes it: other invisible characters than line breaks are refused there.
const clean = () => box.value.replaceAll("\t", "    ").replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/g, "").trim();
const left = (words) => limits.messageChars - [...words].length;

function note() {
	const words = clean();
	const free = left(words);
	const [, name] = /^(\/\w{1,32})=.*$/.exec(words) ?? [];
	const known = COMMANDS.find((command) => command.name === name);
	text("composer-note",
		free < 0 ? `Too long by ${count(-free, "character")}`
		: known ? `${known.form} – ${known.about}`
		: name ? `There is no such command. Known: ${COMMANDS.map(({ form }) => form)}`
		: link.name === "online" ? "" : "What you send now goes out when the connection is back");
	box.setAttribute("aria-invalid", free < 0);
}

function offer(commands) {
	offered = commands;
	$("hints").hidden = !commands.length;
	$("hints").replaceChildren(...commands.map((command, index) => {
		const onmousedown = (event) => {
			event.preventDefault(); // the box keeps the focus
			accept(command);
		};
		const props = { id: `hint-${index}`, role: "option", "aria-selected": index === 0, onmousedown };
		return h("li", props, `${command.form} – ${command.about}`);
	}));
	box.setAttribute("aria-activedescendant", commands.length ? "hint-0" : "");
}

function accept({ name }) {
	box.value = `${name}=`;
	changed();
}
