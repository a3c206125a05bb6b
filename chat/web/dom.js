// Elements: how to find, make and fill them. Text always becomes text nodes, never markup.

export const $ = (id) => document.getElementById(id);
export const setText = (id, text) => ($(id).textContent = text ?? "");
export const listen = (id, type, listener) => $(id).addEventListener(type, listener);
export const isVisible = () => document.visibilityState === "visible";
export const onVisible = (listener) => document.addEventListener("visibilitychange", () => isVisible() && listener());

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

// Sets the text of an element, and hides the element while the text is empty.
export function setTextOrHide(id, text) {
	setText(id, text);
	$(id).hidden = !text;
}

// Shows each field's error beside the field, and moves the focus to the first field that has one.
export function showErrors(errors, ...ids) {
	for (const id of ids) {
		setTextOrHide(`${id}-error`, errors[id]);
		$(id).setAttribute("aria-invalid", Boolean(errors[id]));
	}
	$(ids.find((id) => errors[id]))?.focus();
}

// A user's picture: initials on a colour that depends on the name.
export function avatar(name, isBot) {
	let hash = 0;
	for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) % 997;
	const node = h("span", { class: `avatar ${isBot ? "bot" : `hue${hash % 4}`}`, "aria-hidden": "true" });
	node.append(isBot ? $("bot-avatar").content.cloneNode(true) : [...name].slice(0, 2).join("").toUpperCase());
	return node;
}
