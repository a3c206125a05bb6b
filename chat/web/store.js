// What this page knows: the rooms, their logs, what is unread.
//
// Going live, after each hello: every room is resumed from the last number that its log has. `complete`: nothing is
// missing. Not complete: the gap is read from …/events; where it is too long to be read by anybody, the log begins
// anew at its end, and older events come as the reader scrolls up.

import { call, sentence } from "./api.js";
import { on, tell } from "./bus.js";
import { session } from "./keep.js";
import { RoomLog } from "./log.js";
import * as outbox from "./outbox.js";
import { open, send } from "./wire.js";

const PAGE = 100; // events at a time while reading back
const REPAIR_PAGE = 1000;
const LONG_GAP = 2000; // events; beyond it the log begins anew
const KEPT = 200; // entries of a room that nobody looks at
const READ_MS = 400; // between two read frames
const GAP_MS = 500; // a gap that does not close by itself is read after this time

export const me = session.user;
export const rooms = new Map(); // id → {id, name, topic, members, member, messageNo, readNo, log, …}
export let limits = { messageChars: 4000 };
export let greeted = false; // the first hello was here
let epoch, current;

export const unread = (room) => (room.member ? Math.max(0, room.messageNo - room.readNo) : 0);
export const mine = () =>
	[...rooms.values()].filter((room) => room.member).sort((a, b) => a.name.localeCompare(b.name));

const address = ({ id }) => `/v1/chat/rooms/${id}`;
const resume = (room) => ({ type: 11, chatroomId: room.id, after: room.log.last, epoch });
const change = (room) => {
	tell("rooms");
	tell("log", room.id);
};

// --- what the user does -------------------------------------------------------------------------------

// A REST call in the user's name.
export async function ask(method, path, body) {
	try {
		return await call(method, path, body);
	} catch (error) {
		if (error.status === 401) tell("link", { name: "ended" });
		throw error;
	}
}

// Every room that the user may read, with topics and numbers of people.
export async function refresh() {
	const listed = await ask("GET", "/v1/chat/rooms");
	listed.forEach(meet);
	tell("rooms");
	return listed;
}

// One room anew; undefined: there is none.
export async function look(id) {
	try {
		const room = meet(await ask("GET", address({ id })));
		tell("rooms");
		return room;
	} catch (error) {
		if (error.status !== 404) throw error;
	}
}

// The room on the screen, undefined for none.
export function show(room) {
	current?.log.trim(KEPT);
	current = room;
}

export async function join(room) {
	await ask("PUT", `${address(room)}/members/me`);
	entered(room);
}

export async function leave(room) {
	await ask("DELETE", `${address(room)}/members/me`);
	left(room);
}

export const create = async (name, topic) => meet(await ask("POST", "/v1/chat/rooms", { name, topic }));

// The user has seen all that is in this room.
export function read(room) {
	if (!unread(room)) return;
	room.readNo = room.messageNo;
	room.reading ??= setTimeout(() => {
		room.reading = null;
		tellRead(room);
	}, READ_MS);
	tell("rooms");
}

const tellRead = (room) => send({ type: 17, chatroomId: room.id, messageNo: room.readNo });

// One page more of what was before; when it fails, `room.error` says so.
export function older(room) {
	const { log } = room;
	const { first } = log;
	const after = Math.max(0, first - 1 - PAGE);
	room.loading ??= ask("GET", `${address(room)}/events?after=${after}&limit=${first - 1 - after}`)
		.then((frames) => {
			if (room.log !== log || log.first !== first) return;
			log.prepend(frames);
			frames.forEach(arrived);
		})
		.catch(({ message }) => (room.error = message))
		.finally(() => {
			room.loading = null;
			tell("log", room.id);
		});
	return room.loading;
}

// --- what the server says -----------------------------------------------------------------------------

on("link", ({ name }) => name !== "online" && outbox.grounded());
on("frame", (frame) => {
	const room = rooms.get(frame.chatroomId);
	if (frame.type === 10) hello(frame);
	else if (frame.type === 13) ack(frame);
	else if (frame.type === 14) refused(room, frame);
	else if (frame.seq) event(room, frame);
	else if (!room) return;
	else if (frame.type === 11) verdict(room, frame);
	else if (frame.type === 1) line(room, frame);
	else if (frame.type === 17) {
		room.readNo = Math.max(room.readNo, frame.messageNo);
		tell("rooms");
	}
});

function hello(frame) {
	if (epoch && epoch !== frame.epoch) rooms.clear(); // the numbers have begun anew
	({ epoch, limits } = frame);
	greeted = false; // rooms are met, not entered
	for (const room of rooms.values()) room.member = false;
	for (const { chatroomId, name, seq, messageNo, readMessageNo } of frame.rooms) {
		const room = meet({ id: chatroomId, name, lastSeq: seq, lastMessageNo: messageNo, readMessageNo });
		room.member = true;
		send(resume(room));
		if (room.readNo > readMessageNo) tellRead(room);
	}
	greeted = true;
	outbox.pump();
	tell("rooms");
	refresh().catch(() => {}); // the next hello tries again
}

function verdict(room, { from, to, complete }) {
	const { last } = room.log;
	const foreign = !complete && from <= last;
	if (foreign || (to > last && (room !== current || to - last > LONG_GAP))) {
		room.log = new RoomLog(to);
		outbox.passed(room.id, to);
		tell("log", room.id);
	} else if (to > last) repair(room, to);
}

// Reads what is missing up to event `to`. What happens meanwhile waits in the log's `early`.
async function repair(room, to) {
	if (room.repairing) return;
	room.repairing = true;
	try {
		while (room.log.last < to) {
			const frames = await ask("GET", `${address(room)}/events?after=${room.log.last}&limit=${REPAIR_PAGE}`);
			if (!frames.length) break;
			for (const frame of frames) event(room, frame);
		}
	} catch { /* the connection breaks, too, and resumes; or the next event notices the gap */ }
	room.repairing = false;
}

function event(room, frame) {
	const { seq, type, action, userId } = frame;
	if (type === 5 && action === "joined" && userId === me.id) {
		if (!room) {
			room = meet({ ...frame.room, lastSeq: seq - 1 });
			look(room.id).catch(() => {}); // how many messages it has
		}
		entered(room);
	}
	if (!room) return;
	const { log } = room;
	const fresh = log.take(frame);
	fresh.forEach((each) => happened(room, each));
	if (log.early.size && !room.repairing) {
		room.gap ??= setTimeout(() => {
			room.gap = null;
			if (log.early.size) repair(room, Math.max(...log.early.keys()));
		}, GAP_MS);
	}
	if (room !== current && log.entries.length > 2 * KEPT) log.trim(KEPT);
	if (fresh.length) change(room);
}

function happened(room, frame) {
	const own = frame.userId === me.id;
	arrived(frame);
	if (frame.type === 1) {
		room.messageNo = Math.max(room.messageNo, frame.messageNo);
		if (own) room.readNo = Math.max(room.readNo, frame.messageNo);
		else tell("heard", room, frame);
	} else if (frame.type === 5) {
		if (own && frame.action === "left") left(room);
		tell("people", room);
	}
}

// An own message is in the log: it is no longer on its way.
function arrived({ clientId, userId }) {
	if (clientId && userId === me.id) outbox.remove(clientId);
}

function line(room, frame) {
	arrived(frame);
	if (!room.log.line(frame)) return;
	if (frame.userId !== me.id) tell("heard", room, frame);
	tell("log", room.id);
}

// Ack and echo come in either order.
function ack(frame) {
	const item = outbox.find(frame.clientId);
	const room = rooms.get(item?.roomId);
	if (!room) return;
	// A command is no event: its line may have come already, or be lost with a connection. It is shown once.
	if (!frame.seq) line(room, { ...item, type: 1, chatmessage: item.text, userId: me.id, username: me.username });
	else if (frame.seq <= room.log.last) outbox.remove(frame.clientId);
	else outbox.stored(item, frame);
}

function refused(room, frame) {
	if (frame.clientId) outbox.refused(frame, sentence(frame.chatmessage));
	else if (room && frame.code === "not_found") left(room);
	else if (room && frame.code === "unavailable") setTimeout(() => send(resume(room)), frame.retryMs ?? 1000);
}

function entered(room) {
	if (room.member) return;
	room.member = true;
	room.readNo = room.messageNo;
	send(resume(room)); // harmless if it is live already
	change(room);
}

function left(room) {
	room.member = false;
	change(room);
}

// The room of these facts, from hello, REST or a join; what they do not say stays as it was.
function meet(facts) {
	const fresh = { topic: "", members: null, member: false, messageNo: 0, readNo: 0 };
	const room = rooms.get(facts.id) ?? { id: facts.id, ...fresh };
	rooms.set(room.id, room);
	for (const name of ["name", "topic", "members"]) room[name] = facts[name] ?? room[name];
	room.log ??= new RoomLog(facts.lastSeq);
	room.messageNo = Math.max(room.messageNo, facts.lastMessageNo ?? 0);
	room.readNo = Math.max(room.readNo, facts.readMessageNo ?? 0);
	if (facts.member && greeted) entered(room); // made here, or in another tab
	return room;
}

export const start = () =>
	open(() => {
		const [room] = mine();
		return room && resume(room);
	});
