// Elements, made and found. Text goes into text nodes only: nothing here can turn a message into markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);
export const on = (id, type, listener) => $(id).addEventListener(type, listener);

// h("a", {href: "/", onclick: f}, "text", child, null)
export function h(tag, props, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(props ?? {})) {
		if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
		else if (value != null) node.setAttribute(name, value);
	}
	node.append(...children.filter((child) => child != null));
	return node;
}

// Shows a text, or hides its element when there is none.
export function say(id, text) {
	$(id).textContent = text ?? "";
	$(id).hidden = !text;
}

// A field's error, beside it and for screen readers. The first of several gets the focus.
export function mark(errors, ...ids) {
	for (const id of ids) {
		say(`${id}-error`, errors[id]);
		$(id).setAttribute("aria-invalid", Boolean(errors[id]));
	}
	$(ids.find((id) => errors[id]))?.focus();
}

// The round picture of somebody: two letters in a colour of his own, or the robot.
export function avatar(name, robot) {
	let hash = 0;
	for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) % 997;
	const node = h("span", { class: `avatar ${robot ? "robot" : `hue${hash % 6}`}`, "aria-hidden": "true" });
	if (!robot) node.append([...name].slice(0, 2).join("").toUpperCase());
	else {
		const svg = document.createElementNS(SVG, "svg");
		svg.setAttribute("class", "icon");
		const use = svg.appendChild(document.createElementNS(SVG, "use"));
		use.setAttribute("href", "#i-robot");
		node.append(svg);
	}
	return node;
}
