// The websocket: opens it, keeps it open, says how things stand. What the frames mean is the store's business.
//
//   connecting → online → waiting → connecting → …      ended: log in again      broken: reload the page

import { call } from "./api.js";
import { tell } from "./bus.js";
import { session } from "./keep.js";

const HELLO_MS = 10_000; // a server that has not said hello by then is as good as none
const PROBE_MS = 4_000; // an answer to a question that costs the server nothing
const ANSWER_MS = 12_000; // the server answers a write in 5 s, whatever happens to its database
const STEADY_MS = 5_000; // a connection that lasted so long was a good one: the pauses begin anew
const POLICY_MS = 10_000; // code 1008: the server asks for a pause

export let link = { name: "connecting" };
let socket, attempt = 0, ping, timer, deadline, steady;

// Before the next try: each pause is about twice the last, and random, so that a crowd does not come back at once.
export function pause(attempt, random = Math.random()) {
	const most = Math.min(30_000, 1_000 * 2 ** attempt);
	return most / 2 + (random * most) / 2;
}

// `question()`: a frame that the server answers at once, if there is one.
export function open(question) {
	ping = question;
	const look = () => document.visibilityState === "visible" && hurry();
	document.addEventListener("visibilitychange", look);
	for (const type of ["online", "offline", "pageshow"]) window.addEventListener(type, look);
	connect();
}

// False: it could not be sent now.
export function send(frame) {
	if (link.name !== "online") return false;
	socket.send(JSON.stringify(frame));
	if (frame.type === 1) expect(ANSWER_MS);
	return true;
}

// Something has changed, or somebody looks: try at once, or find out whether the connection still lives. The browser's
// own word is not taken for it: without a network, a server on this machine still answers.
export function hurry() {
	const question = ping();
	if (link.name === "waiting") connect();
	else if (question && send(question)) expect(PROBE_MS);
}

function connect() {
	clearTimeout(timer);
	set({ name: "connecting", attempt });
	const own = (socket = new WebSocket(`${location.origin.replace("http", "ws")}/v1/ws`, ["chat.v2", `bearer.${session.token}`]));
	expect(HELLO_MS);
	socket.onmessage = ({ data }) => {
		if (own !== socket) return;
		expect(0);
		const frame = JSON.parse(data);
		if (frame.type === 10) {
			steady = setTimeout(() => (attempt = 0), STEADY_MS);
			set({ name: "online" });
		}
		tell("frame", frame);
	};
	socket.onclose = ({ code }) => own === socket && closed(code);
}

// A frame of whatever kind has to come by then, or the connection is dead without saying so. 0: it has come.
function expect(ms) {
	if (!ms) deadline = clearTimeout(deadline);
	else deadline ??= setTimeout(() => closed(1006), ms);
}

async function closed(code) {
	const greeted = link.name === "online";
	const gone = socket;
	socket = null;
	gone.close();
	expect(0);
	clearTimeout(steady);
	if (code === 4001) return set({ name: "ended" });
	if (code === 1003 || code === 1007) return set({ name: "broken" });
	const ms = Math.max(pause(attempt), code === 1008 ? POLICY_MS : 0);
	attempt += 1;
	set({ name: "waiting", until: Date.now() + ms });
	timer = setTimeout(connect, ms);
	// A browser does not say why a socket was refused; REST does.
	if (!greeted) await call("GET", "/v1/users/me").catch(({ status }) => status === 401 && set({ name: "ended" }));
}

function set(state) {
	link = state;
	tell("link", state);
}
