// The websocket: opens it, keeps it open, and tells the others its state.
//
//   connecting → online → waiting → connecting → …      ended: the user has to log in again

import { call } from "./api.js";
import { onVisible } from "./dom.js";
import { emit } from "./events.js";
import { CLOSE, FRAME } from "./protocol.js";
import { savedLogin } from "./storage.js";

const PROBE_TIMEOUT_MS = 4_000; // the answer to a probe, which costs the server nothing
const RESPONSE_TIMEOUT_MS = 12_000; // the hello, or the answer to a message, for which the server takes 5 s at most
const STABLE_AFTER_MS = 5_000; // a connection that has lasted this long resets the backoff
const POLICY_PAUSE_MS = 10_000; // after a close with POLICY_VIOLATION

export let state = { name: "connecting" }; // {name, attempt?, until?}
let socket, attempt = 0, onlineSince, probeFrame, reconnectTimer, deadline;

// Exponential backoff, with jitter so that not all clients come back at once.
export function backoffMs(attempt, random = Math.random()) {
	const limit = Math.min(30_000, 1_000 * 2 ** attempt);
	return limit / 2 + (random * limit) / 2;
}

// `getProbeFrame()`: a frame that the server answers at once, undefined if there is none.
export function start(getProbeFrame) {
	probeFrame = getProbeFrame;
	onVisible(retryNow);
	for (const type of ["online", "offline", "pageshow"]) window.addEventListener(type, retryNow);
	connect();
}

// Returns false if the frame cannot be sent now.
export function send(frame) {
	if (state.name !== "online") return false;
	socket.send(JSON.stringify(frame));
	if (frame.type === FRAME.MESSAGE) setDeadline(RESPONSE_TIMEOUT_MS);
	return true;
}

// Connects at once, or finds out whether the connection still works. The browser's word that it is offline is not
// enough: without a network, a server on the same machine can still be reached.
export function retryNow() {
	const probe = probeFrame();
	if (state.name === "waiting") connect();
	else if (probe && send(probe)) setDeadline(PROBE_TIMEOUT_MS);
}

function connect() {
	clearTimeout(reconnectTimer);
	setState({ name: "connecting", attempt });
	const url = `${location.origin.replace("http", "ws")}/v1/ws`;
	const opened = (socket = new WebSocket(url, ["chat.v2", `bearer.${savedLogin.token}`]));
	setDeadline(RESPONSE_TIMEOUT_MS);
	socket.onmessage = ({ data }) => {
		if (opened !== socket) return;
		clearDeadline();
		const frame = JSON.parse(data);
		if (frame.type === FRAME.HELLO) {
			onlineSince = Date.now();
			setState({ name: "online" });
		}
		emit("frame", frame);
	};
	socket.onclose = ({ code }) => opened === socket && onClose(code);
}

// If no frame comes by then, the connection is lost, whatever the browser thinks of it. An earlier deadline stays.
function setDeadline(ms) {
	deadline ??= setTimeout(() => onClose(CLOSE.ABNORMAL), ms);
}

function clearDeadline() {
	deadline = clearTimeout(deadline);
}

function onClose(code) {
	const wasOnline = state.name === "online";
	socket.close();
	socket = null;
	clearDeadline();
	if (wasOnline && Date.now() - onlineSince > STABLE_AFTER_MS) attempt = 0;
	if (code === CLOSE.SESSION_OVER) return setState({ name: "ended" });
	const ms = Math.max(backoffMs(attempt), code === CLOSE.POLICY_VIOLATION ? POLICY_PAUSE_MS : 0);
	attempt += 1;
	setState({ name: "waiting", until: Date.now() + ms });
	reconnectTimer = setTimeout(connect, ms);
	// A browser does not say why the server refused a websocket. REST does: it answers 401 if the session has expired.
	if (!wasOnline) call("GET", "/v1/users/me").catch(() => {});
}

function setState(next) {
	state = next;
	emit("connection", state);
}
