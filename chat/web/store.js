// What this page knows: the rooms, their logs, what is unread.
//
// After each hello every room is resumed from where its log ends. Verdict `complete`: nothing is missing. Else the gap is
// read from …/events, or, where nobody would read it all, the log begins anew at its end.

import { call, sentence } from "./api.js";
import { open, send } from "./connection.js";
import { on, tell } from "./events.js";
import * as outbox from "./outbox.js";
import { ACTION, FRAME } from "./protocol.js";
import { RoomLog } from "./room_log.js";
import { session } from "./storage.js";

const PAGE = 100; // events at a time while reading back
const LONG_GAP = 2000; // events; beyond it the log begins anew
const KEPT = 200; // entries of a room that nobody looks at
const READ_MS = 400; // between two read frames

export const me = session.user;
export const rooms = new Map(); // id → {id, name, topic, members, member, messageNo, readNo, log, …}
export let limits = { messageChars: 4000 };
export let greeted = false; // the first hello was here
let epoch, current;

export const unread = (room) => (room.member ? Math.max(0, room.messageNo - room.readNo) : 0);
export const mine = () =>
	[...rooms.values()].filter((room) => room.member).sort((a, b) => a.name.localeCompare(b.name));

const address = ({ id }) => `/v1/chat/rooms/${id}`;
const resume = (room) => ({ type: FRAME.RESUME, chatroomId: room.id, after: room.log.last, epoch });

export const refresh = async () => (await call("GET", "/v1/chat/rooms")).map(meet);

// One room anew; null: there is none.
export async function look(id) {
	try {
		return meet(await call("GET", address({ id })));
	} catch (error) {
		if (error.status === 404) return null;
		throw error;
	}
}

export function show(room) {
	current = room;
}

export async function join(room) {
	await call("PUT", `${address(room)}/members/me`);
	entered(room);
}

export async function leave(room) {
	await call("DELETE", `${address(room)}/members/me`);
	left(room);
}

export const create = async (name, topic) => meet(await call("POST", "/v1/chat/rooms", { name, topic }));

export function read(room) {
	if (!unread(room)) return;
	room.readNo = room.messageNo;
	room.reading ??= setTimeout(() => {
		room.reading = null;
		tellRead(room);
	}, READ_MS);
	tell("rooms");
}

window.addEventListener("pagehide", () => mine().forEach((room) => room.reading && tellRead(room)));
const tellRead = (room) => send({ type: FRAME.READ_MARKER, chatroomId: room.id, messageNo: room.readNo });

// One page more of what was before; or `room.error`.
export function older(room) {
	const { log } = room;
	const { first } = log;
	room.error = null;
	const after = Math.max(0, first - 1 - PAGE);
	room.loading ??= call("GET", `${address(room)}/events?after=${after}&limit=${first - 1 - after}`)
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

on("link", ({ name }) => name !== "online" && outbox.grounded());
on("frame", (frame) => {
	const room = rooms.get(frame.chatroomId);
	if (frame.type === FRAME.HELLO) hello(frame);
	else if (frame.type === FRAME.ACK) ack(frame);
	else if (frame.type === FRAME.ERROR) refused(room, frame);
	else if (frame.seq) event(room, frame);
	else if (!room) return;
	else if (frame.type === FRAME.RESUME) verdict(room, frame);
	else if (frame.type === FRAME.MESSAGE) line(room, frame);
	else if (frame.type === FRAME.READ_MARKER) room.readNo = Math.max(room.readNo, frame.messageNo);
	tell("rooms");
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
	refresh().catch(() => {}); // the next hello tries again
}

function verdict(room, { from, to, complete }) {
	const { last } = room.log;
	const foreign = !complete && from <= last; // our numbers are not this log's
	if (foreign || (to > last && (room !== current || to - last > LONG_GAP))) {
		room.log = new RoomLog(to);
		outbox.passed(room.id);
		tell("log", room.id);
	} else if (to > last) repair(room, to);
}

async function repair(room, to) {
	if (room.repairing) return;
	room.repairing = true;
	try {
		while (room.log.last < to) {
			const frames = await call("GET", `${address(room)}/events?after=${room.log.last}&limit=1000`);
			if (!frames.length) break;
			for (const frame of frames) event(room, frame);
		}
	} catch { /* the next event notices the gap, or the next hello */ }
	room.repairing = false;
}

function event(room, frame) {
	const { seq, type, action, userId } = frame;
	if (type === FRAME.MEMBER && action === ACTION.JOINED && userId === me.id) {
		if (!room) look(frame.chatroomId).catch(() => {}); // how many messages it has
		entered((room ??= meet({ ...frame.room, lastSeq: seq - 1 })));
	}
	if (!room) return;
	const { log } = room;
	const fresh = log.take(frame);
	fresh.forEach((each) => happened(room, each));
	if (log.early.size) repair(room, Math.max(...log.early.keys()));
	if (room !== current && log.entries.length > 2 * KEPT) log.trim(KEPT);
	if (fresh.length) tell("log", room.id);
}

function happened(room, frame) {
	const own = frame.userId === me.id;
	arrived(frame);
	if (frame.type === FRAME.MESSAGE) {
		room.messageNo = Math.max(room.messageNo, frame.messageNo);
		if (own) room.readNo = Math.max(room.readNo, frame.messageNo);
		else tell("heard", room, frame);
	} else if (frame.type === FRAME.MEMBER) {
		if (own && frame.action === ACTION.LEFT) left(room);
		tell("people", room);
	}
}

// What is in the log is no longer on its way.
function arrived({ clientId, userId }) {
	if (userId === me.id) outbox.remove(clientId);
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
	// A command: its line may have come, or be lost.
	if (!frame.seq) line(room, { ...item, type: FRAME.MESSAGE, chatmessage: item.text, userId: me.id, username: me.username });
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
	tell("rooms");
}

function left(room) {
	room.member = false;
	tell("rooms");
}

// The room of these facts (of hello, REST or a join); what they do not say stays.
function meet(facts) {
	const room = rooms.get(facts.id) ?? { id: facts.id, topic: "", messageNo: 0, readNo: 0 };
	rooms.set(room.id, room);
	for (const name of ["name", "topic", "members"]) room[name] = facts[name] ?? room[name];
	room.log ??= new RoomLog(facts.lastSeq);
	room.messageNo = Math.max(room.messageNo, facts.lastMessageNo ?? 0);
	room.readNo = Math.max(room.readNo, facts.readMessageNo ?? 0);
	if (facts.member && greeted) entered(room); // made here, or in another tab
	tell("rooms");
	return room;
}

export const start = () => open(() => mine().map(resume)[0]);
