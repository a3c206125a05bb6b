// The websocket: opens it, keeps it open, says how things stand.
//
//   connecting → online → waiting → connecting → …      ended: log in again

import { call } from "./api.js";
import { onShown } from "./dom.js";
import { tell } from "./events.js";
import { CLOSE, FRAME } from "./protocol.js";
import { session } from "./storage.js";

const PROBE_MS = 4_000; // an answer to a question that costs the server nothing
const ANSWER_MS = 12_000; // hello; the answer to a write, which takes 5 s at most
const STEADY_MS = 5_000; // after a connection that lasted so long, the pauses begin anew
const POLICY_MS = 10_000; // the server asked for a pause

export let link = { name: "connecting" };
let socket, attempt = 0, since, ping, timer, deadline;

// Each about twice the last, and random, so that a crowd does not come back at once.
export function pause(attempt, random = Math.random()) {
	const most = Math.min(30_000, 1_000 * 2 ** attempt);
	return most / 2 + (random * most) / 2;
}

// `question()`: a frame that the server answers at once, if there is one.
export function open(question) {
	ping = question;
	onShown(hurry);
	for (const type of ["online", "offline", "pageshow"]) window.addEventListener(type, hurry);
	connect();
}

// False: it could not be sent now.
export function send(frame) {
	if (link.name !== "online") return false;
	socket.send(JSON.stringify(frame));
	if (frame.type === FRAME.MESSAGE) expect(ANSWER_MS);
	return true;
}

// Something has changed: try at once, or find out whether the connection lives. The browser's word is not enough: without
// a network, a server on this machine still answers.
export function hurry() {
	const question = ping();
	if (link.name === "waiting") connect();
	else if (question && send(question)) expect(PROBE_MS);
}

function connect() {
	clearTimeout(timer);
	set({ name: "connecting", attempt });
	const own = (socket = new WebSocket(`${location.origin.replace("http", "ws")}/v1/ws`, ["chat.v2", `bearer.${session.token}`]));
	expect(ANSWER_MS);
	socket.onmessage = ({ data }) => {
		if (own !== socket) return;
		expect(0);
		const frame = JSON.parse(data);
		if (frame.type === FRAME.HELLO) {
			since = Date.now();
			set({ name: "online" });
		}
		tell("frame", frame);
	};
	socket.onclose = ({ code }) => own === socket && closed(code);
}

// Some frame comes by then, or the connection is dead without saying so. 0: it has come.
function expect(ms) {
	if (!ms) deadline = clearTimeout(deadline);
	else deadline ??= setTimeout(() => closed(CLOSE.ABNORMAL), ms);
}

function closed(code) {
	const greeted = link.name === "online";
	socket.close();
	socket = null;
	expect(0);
	if (greeted && Date.now() - since > STEADY_MS) attempt = 0;
	if (code === CLOSE.SESSION_OVER) return set({ name: "ended" });
	const ms = Math.max(pause(attempt), code === CLOSE.POLICY_VIOLATION ? POLICY_MS : 0);
	attempt += 1;
	set({ name: "waiting", until: Date.now() + ms });
	timer = setTimeout(connect, ms);
	// A browser does not say why a socket was refused; REST does, and then the session ends.
	if (!greeted) call("GET", "/v1/users/me").catch(() => {});
}

function set(state) {
	link = state;
	tell("link", state);
}
