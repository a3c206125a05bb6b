// What the browser keeps: session and drafts for all tabs; for this one, what is not sent yet (two would send it twice).
// Where storage is forbidden or full, the page works until it is closed.

const KEYS = { session: "chat.session", notice: "chat.notice" };

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

// {token, user} of who is logged in, or null.
export let session = get("localStorage", KEYS.session);

export function enter(fresh) {
	session = fresh;
	put("localStorage", KEYS.session, fresh);
}

// The session is over. A new page begins, so that nothing of the old one is left in memory. Whose session ended by itself
// finds his room and drafts again; who logs out leaves nothing behind.
export function leave({ ended }) {
	const mine = key("");
	put("localStorage", KEYS.session, null);
	if (ended) put("sessionStorage", KEYS.notice, { email: session.user.email });
	else {
		for (const store of [localStorage, sessionStorage]) {
			for (const name of Object.keys(store)) if (name.startsWith(mine)) store.removeItem(name);
		}
		history.replaceState(null, "", "/");
	}
	location.reload();
}

// Who has to log in again, told once.
export function notice() {
	const found = get("sessionStorage", KEYS.notice);
	put("sessionStorage", KEYS.notice, null);
	return found;
}

// Another tab logged in or out.
window.addEventListener("storage", () => {
	if (get("localStorage", KEYS.session)?.token !== session?.token) location.reload();
});

// One user's: other people on the same machine do not meet them.
const key = (name) => `chat.${session.user.id}.${name}`;
export const draft = (roomId) => get("localStorage", key(`draft.${roomId}`)) ?? "";
export const keepDraft = (roomId, text) => put("localStorage", key(`draft.${roomId}`), text);
export const lastRoom = () => get("localStorage", key("room"));
export const keepLastRoom = (roomId) => put("localStorage", key("room"), roomId);
export const unsent = () => get("sessionStorage", key("unsent")) ?? [];
export const keepUnsent = (items) => put("sessionStorage", key("unsent"), items.length ? items : null);
