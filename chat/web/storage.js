// What the browser stores: the log-in and the drafts for all tabs (localStorage), the unsent messages for this tab
// (sessionStorage). If storage is blocked, state lives only as long as the page.

const LOGIN = "chat.session";
const EXPIRED = "chat.notice";

function read(area, key) {
	try {
		return JSON.parse(window[area].getItem(key));
	} catch {
		return null;
	}
}

// An empty value removes the key.
function write(area, key, value) {
	try {
		if (value) window[area].setItem(key, JSON.stringify(value));
		else window[area].removeItem(key);
	} catch { /* storage is blocked or full, see above */ }
}

// The server's answer to the last log-in, {token, user}; null if nobody is logged in.
export let savedLogin = read("localStorage", LOGIN);

export function saveLogin(login) {
	savedLogin = login;
	write("localStorage", LOGIN, login);
}

// Loads the page anew, so that its memory is empty. If the session has `expired`, the last room and the drafts stay
// stored for the next log-in; otherwise everything is removed.
export function logOut({ expired }) {
	write("localStorage", LOGIN);
	if (expired) write("sessionStorage", EXPIRED, savedLogin.user.email);
	else {
		for (const area of [localStorage, sessionStorage]) {
			for (const name of Object.keys(area)) if (name.startsWith(userKey(""))) area.removeItem(name);
		}
		history.replaceState(null, "", "/");
	}
	location.reload();
}

// The e-mail address of the user whose session has expired. The second call returns null.
export function takeExpiredEmail() {
	const email = read("sessionStorage", EXPIRED);
	write("sessionStorage", EXPIRED);
	return email;
}

// Another tab has logged in or out.
window.addEventListener("storage", () => {
	if (read("localStorage", LOGIN)?.token !== savedLogin?.token) location.reload();
});

// Each user has keys of their own.
const userKey = (name) => `chat.${savedLogin.user.id}.${name}`;
export const loadDraft = (roomId) => read("localStorage", userKey(`draft.${roomId}`)) ?? "";
export const saveDraft = (roomId, text) => write("localStorage", userKey(`draft.${roomId}`), text);
export const loadLastRoomId = () => read("localStorage", userKey("room"));
export const saveLastRoomId = (roomId) => write("localStorage", userKey("room"), roomId);
export const loadUnsent = () => read("sessionStorage", userKey("unsent")) ?? [];
export const saveUnsent = (items) => write("sessionStorage", userKey("unsent"), items);
