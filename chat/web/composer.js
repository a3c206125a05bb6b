// Where the user writes: Enter sends, Shift+Enter breaks the line, `/` offers the commands. Each room keeps its draft.

import { on } from "./bus.js";
import { $, h, on as listen } from "./dom.js";
import { draft, keepDraft } from "./keep.js";
import { add } from "./outbox.js";
import { limits } from "./store.js";
import { said } from "./timeline.js";
import { link } from "./wire.js";
import { count } from "./words.js";

// What the server answers to, and what it expects.
const COMMANDS = [{ name: "/stock", form: "/stock=CODE", about: "a share’s price, as in /stock=AAPL.US" }];
const KNOWN = COMMANDS.map(({ form }) => form).join(", ");
const WARN = 200; // characters left at which they are counted

const box = $("message");
let room, offered = [], chosen;

// The room written to, with its draft.
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
	const last = offered.length - 1;
	if (event.isComposing) return; // Enter that ends a word of an input method
	if (last >= 0 && (key === "Enter" || key === "Tab")) accept(chosen);
	else if (last >= 0 && key === "ArrowDown") choose(chosen === last ? 0 : chosen + 1);
	else if (last >= 0 && key === "ArrowUp") choose(chosen === 0 ? last : chosen - 1);
	else if (last >= 0 && key === "Escape") offer([]);
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
	const text = clean();
	focus();
	if (!text || left(text) < 0) return;
	box.value = "";
	changed();
	add(room.id, text);
	said();
}

// As the server takes it: other invisible characters than line breaks are refused there.
const clean = () => box.value.replaceAll("\t", "    ").replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/g, "").trim();
const left = (text) => limits.messageChars - [...text].length;

function note() {
	const text = clean();
	const free = left(text);
	const [, name] = /^(\/\w{1,32})=.*$/.exec(text) ?? [];
	const known = COMMANDS.find((command) => command.name === name);
	$("composer-note").textContent =
		free < 0 ? `Too long by ${count(-free, "character")}`
		: free < WARN ? `${count(free, "character")} left`
		: known ? `${known.form} – ${known.about}`
		: name ? `There is no such command. Known: ${KNOWN}`
		: link.name === "online" ? "" : "What you send now goes out when the connection is back";
	box.setAttribute("aria-invalid", free < 0);
}

// --- commands -----------------------------------------------------------------------------------------

function offer(commands) {
	offered = commands;
	$("hints").hidden = !commands.length;
	$("hints").replaceChildren(...commands.map(({ form, about }, index) => {
		const onmousedown = (event) => {
			event.preventDefault(); // the box keeps the focus
			accept(index);
		};
		return h("li", { id: `hint-${index}`, role: "option", onmousedown }, h("code", null, form), ` – ${about}`);
	}));
	choose(0);
}

function choose(index) {
	chosen = index;
	[...$("hints").children].forEach((node, at) => node.setAttribute("aria-selected", at === index));
	box.setAttribute("aria-activedescendant", offered.length ? `hint-${index}` : "");
}

function accept(index) {
	box.value = `${offered[index].name}=`;
	changed();
}
