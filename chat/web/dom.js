// Elements, made and found. Text becomes text nodes: nothing here makes markup of a message.

export const $ = (id) => document.getElementById(id);
export const text = (id, words) => ($(id).textContent = words ?? "");
export const listen = (id, type, listener) => $(id).addEventListener(type, listener);
export const visible = () => document.visibilityState === "visible";
export const onShown = (listener) => document.addEventListener("visibilitychange", () => visible() && listener());

// h("a", {href, onclick}, "text", child, null)
export function h(tag, props, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(props ?? {})) {
		if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
		else if (value != null) node.setAttribute(name, value);
	}
	node.append(...children.filter((child) => child != null));
	return node;
}

export function say(id, words) {
	text(id, words);
	$(id).hidden = !words;
}

// Each field's error, beside it; the first gets the focus.
export function mark(errors, ...ids) {
	for (const id of ids) {
		say(`${id}-error`, errors[id]);
		$(id).setAttribute("aria-invalid", Boolean(errors[id]));
	}
	$(ids.find((id) => errors[id]))?.focus();
}

// Somebody's picture.
export function avatar(name, robot) {
	let hash = 0;
	for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) % 997;
	const node = h("span", { class: `avatar ${robot ? "robot" : `hue${hash % 4}`}`, "aria-hidden": "true" });
	node.append(robot ? $("robot").content.cloneNode(true) : [...name].slice(0, 2).join("").toUpperCase());
	return node;
}
