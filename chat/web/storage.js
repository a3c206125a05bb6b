// What the browser keeps: session and drafts for all tabs, for this one what is not sent yet. Where it refuses, the page
// works until it is closed.

const SESSION = "chat.session";
const NOTICE = "chat.notice";

function get(store, key) {
	try {
		return JSON.parse(window[store].getItem(key));
	} catch {
		return null;
	}
}

function put(store, key, value) {
	try {
		if (value) window[store].setItem(key, JSON.stringify(value));
		else window[store].removeItem(key);
	} catch { /* see above */ }
}

// {token, user}, or null.
export let session = get("localStorage", SESSION);

export function enter(fresh) {
	session = fresh;
	put("localStorage", SESSION, fresh);
}

// A new page begins, with nothing of this one in its memory. Whose session ended by itself finds his room and drafts again;
// who logs out leaves nothing behind.
export function leave({ ended }) {
	put("localStorage", SESSION);
	if (ended) put("sessionStorage", NOTICE, session.user.email);
	else {
		for (const store of [localStorage, sessionStorage]) {
			for (const name of Object.keys(store)) if (name.startsWith(key(""))) store.removeItem(name);
		}
		history.replaceState(null, "", "/");
	}
	location.reload();
}

// Whose session ended; told once.
export function notice() {
	const email = get("sessionStorage", NOTICE);
	put("sessionStorage", NOTICE);
	return email;
}

// In another tab.
window.addEventListener("storage", () => {
	if (get("localStorage", SESSION)?.token !== session?.token) location.reload();
});

// Each user's own.
const key = (name) => `chat.${session.user.id}.${name}`;
export const draft = (roomId) => get("localStorage", key(`draft.${roomId}`)) ?? "";
export const keepDraft = (roomId, text) => put("localStorage", key(`draft.${roomId}`), text);
export const lastRoom = () => get("localStorage", key("room"));
export const keepLastRoom = (roomId) => put("localStorage", key("room"), roomId);
export const unsent = () => get("sessionStorage", key("unsent")) ?? [];
export const keepUnsent = (items) => put("sessionStorage", key("unsent"), items);
