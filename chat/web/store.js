// What this page knows: the user, the rooms, their logs, and what is unread.
//
// After each hello every room is resumed from where its log ends. If the server says `complete`, nothing is missing.
// Otherwise the gap is read from …/events; if it is too long to be read, the log begins anew at the room's end.
//
// Nothing happens before `start`.

import { call, callPages, sentence } from "./api.js";
import * as connection from "./connection.js";
import { emit, on } from "./events.js";
import * as outbox from "./outbox.js";
import { ACTION, FRAME } from "./protocol.js";
import { RoomLog } from "./room_log.js";

const PAGE_EVENTS = 100; // of one request while the user reads back
const GAP_PAGE_EVENTS = 1_000; // of one request while a gap is read
const MAX_GAP_EVENTS = 2_000; // a longer gap is not read
const BACKGROUND_ENTRIES = 200; // entries that a room keeps while it is not open
const READ_MARKER_DELAY_MS = 400; // between two read markers of a room
const DEFAULT_RETRY_MS = 1_000;

export let me; // {id, username, email}
export const rooms = new Map(); // id → room, see upsertRoom
export let limits = { messageChars: 4000 };
export let isReady = false; // the rooms of the hello are known
let epoch, current;

// Connects as this user, and follows what comes.
export function start(user) {
	me = user;
	outbox.restore();
	on("connection", ({ name }) => name !== "online" && outbox.requeueInFlight());
	on("frame", onFrame);
	window.addEventListener("pagehide", () => joinedRooms().forEach((room) => room.readTimer && sendReadMarker(room)));
	connection.start(() => joinedRooms().map(resumeFrame)[0]);
}

export const unreadCount = (room) => (room.isMember ? Math.max(0, room.lastMessageNo - room.readMessageNo) : 0);
export const joinedRooms = () =>
	[...rooms.values()].filter((room) => room.isMember).sort((a, b) => a.name.localeCompare(b.name));

const roomPath = ({ id }) => `/v1/chat/rooms/${id}`;
const resumeFrame = (room) => ({ type: FRAME.RESUME, chatroomId: room.id, after: room.log.last, epoch });

export const fetchRooms = async () => (await callPages("/v1/chat/rooms")).map(upsertRoom);

// Returns null if there is no such room.
export async function fetchRoom(id) {
	try {
		return upsertRoom(await call("GET", roomPath({ id })));
	} catch (error) {
		if (error.status === 404) return null;
		throw error;
	}
}

// The room that is open; the logs of the others are kept short.
export function setCurrent(room) {
	current = room;
}

export async function join(room) {
	await call("PUT", `${roomPath(room)}/members/me`);
	onJoined(room);
}

export async function leave(room) {
	await call("DELETE", `${roomPath(room)}/members/me`);
	onLeft(room);
}

export const createRoom = async (name, topic) => upsertRoom(await call("POST", "/v1/chat/rooms", { name, topic }));

// Everything in the room has been read.
export function markRead(room) {
	if (!unreadCount(room)) return;
	room.readMessageNo = room.lastMessageNo;
	room.readTimer ??= setTimeout(() => {
		room.readTimer = null;
		sendReadMarker(room);
	}, READ_MARKER_DELAY_MS);
	emit("rooms");
}

const sendReadMarker = (room) =>
	connection.send({ type: FRAME.READ_MARKER, chatroomId: room.id, messageNo: room.readMessageNo });

// Reads the page of events before the log's first one. If that fails, `room.error` says why.
export function loadOlder(room) {
	const { log } = room;
	const { first } = log;
	room.error = null;
	const after = Math.max(0, first - 1 - PAGE_EVENTS);
	room.loading ??= call("GET", `${roomPath(room)}/events?after=${after}&limit=${first - 1 - after}`)
		.then((frames) => {
			if (room.log !== log || log.first !== first) return;
			log.prepend(frames);
			frames.forEach(dropFromOutbox);
		})
		.catch(({ message }) => (room.error = message))
		.finally(() => {
			room.loading = null;
			emit("log", room.id);
		});
	return room.loading;
}

function onFrame(frame) {
	const room = rooms.get(frame.chatroomId);
	if (frame.type === FRAME.HELLO) onHello(frame);
	else if (frame.type === FRAME.ACK) onAck(frame);
	else if (frame.type === FRAME.ERROR) onError(room, frame);
	else if (frame.seq) onEvent(room, frame);
	else if (!room) return;
	else if (frame.type === FRAME.RESUME) onResumed(room, frame);
	else if (frame.type === FRAME.MESSAGE) onCommand(room, frame);
	else if (frame.type === FRAME.READ_MARKER) room.readMessageNo = Math.max(room.readMessageNo, frame.messageNo);
	emit("rooms");
}

function onHello(frame) {
	if (epoch && epoch !== frame.epoch) rooms.clear(); // another epoch: the numbers of the events begin anew
	({ epoch, limits } = frame);
	isReady = false; // upsertRoom must not take these for rooms that the user has just joined
	for (const room of rooms.values()) room.isMember = false;
	for (const { chatroomId, name, seq, messageNo, readMessageNo } of frame.rooms) {
		const room = upsertRoom({ id: chatroomId, name, lastSeq: seq, lastMessageNo: messageNo, readMessageNo });
		room.isMember = true;
		connection.send(resumeFrame(room));
		if (room.readMessageNo > readMessageNo) sendReadMarker(room);
	}
	isReady = true;
	outbox.flush();
	fetchRooms().catch(() => {}); // the next hello tries again
}

function onResumed(room, { from, to, complete }) {
	const { last } = room.log;
	const isOtherLog = !complete && from <= last; // the server counts from a lower number than ours
	if (isOtherLog || (to > last && (room !== current || to - last > MAX_GAP_EVENTS))) {
		room.log = new RoomLog(to);
		if (isOtherLog) room.countedSeq = 0;
		if (room === current) fetchRoom(room.id).catch(() => {}); // for the number of members: their events were skipped
		outbox.dropSent(room.id);
		emit("log", room.id);
	} else if (to > last) fillGap(room, to);
}

async function fillGap(room, to) {
	if (room.isFillingGap) return;
	room.isFillingGap = true;
	try {
		while (room.log.last < to) {
			const frames = await call("GET", `${roomPath(room)}/events?after=${room.log.last}&limit=${GAP_PAGE_EVENTS}`);
			if (!frames.length) break;
			for (const frame of frames) onEvent(room, frame);
		}
	} catch { /* the next event or the next hello finds the gap again */ }
	room.isFillingGap = false;
}

function onEvent(room, frame) {
	const { seq, type, action, userId } = frame;
	if (type === FRAME.MEMBER && action === ACTION.JOINED && userId === me.id) {
		if (!room) fetchRoom(frame.chatroomId).catch(() => {}); // for the number of its messages
		onJoined((room ??= upsertRoom({ ...frame.room, lastSeq: seq - 1 })));
	}
	if (!room) return;
	const { log } = room;
	const added = log.append(frame);
	added.forEach((event) => applyEvent(room, event));
	if (log.reorderBuffer.size) fillGap(room, Math.max(...log.reorderBuffer.keys()));
	if (room !== current && log.entries.length > 2 * BACKGROUND_ENTRIES) log.trim(BACKGROUND_ENTRIES);
	if (added.length) emit("log", room.id);
}

function applyEvent(room, frame) {
	const isOwn = frame.userId === me.id;
	dropFromOutbox(frame);
	if (frame.type === FRAME.MESSAGE) {
		room.lastMessageNo = Math.max(room.lastMessageNo, frame.messageNo);
		if (isOwn) room.readMessageNo = Math.max(room.readMessageNo, frame.messageNo);
		else emit("message", room, frame);
	} else if (frame.type === FRAME.MEMBER) {
		if (isOwn && frame.action === ACTION.LEFT) onLeft(room);
		countMember(room, frame);
		emit("members", room);
	}
}

// REST says how many members a room has after its event `lastSeq`; each later join or leave changes that by one.
function countMember(room, { seq, action }) {
	if (!(seq > room.countedSeq)) return;
	room.countedSeq = seq;
	room.memberCount += action === ACTION.JOINED ? 1 : -1;
}

// What is in the log is no longer in the outbox.
function dropFromOutbox({ requestId, userId }) {
	if (userId === me.id) outbox.remove(requestId);
}

function onCommand(room, frame) {
	dropFromOutbox(frame);
	if (!room.log.addCommand(frame)) return;
	if (frame.userId !== me.id) emit("message", room, frame);
	emit("log", room.id);
}

// The ack of a message and its event come in either order.
function onAck(frame) {
	const item = outbox.find(frame.requestId);
	const room = rooms.get(item?.roomId);
	if (!room) return;
	if (!frame.seq) {
		// A command: its frame may have come already, or may be lost.
		const { requestId, text } = item;
		onCommand(room, { type: FRAME.MESSAGE, chatmessage: text, userId: me.id, username: me.username, requestId });
	} else if (frame.seq <= room.log.last) outbox.remove(frame.requestId);
	else outbox.markSent(item, frame);
}

function onError(room, frame) {
	if (frame.requestId) outbox.onError(frame, sentence(frame.chatmessage));
	else if (room && frame.code === "not_found") onLeft(room);
	else if (room && frame.code === "unavailable") {
		setTimeout(() => connection.send(resumeFrame(room)), frame.retryMs ?? DEFAULT_RETRY_MS);
	}
}

function onJoined(room) {
	if (room.isMember) return;
	room.isMember = true;
	room.readMessageNo = room.lastMessageNo;
	connection.send(resumeFrame(room)); // changes nothing if the room is live already
	emit("rooms");
}

function onLeft(room) {
	room.isMember = false;
	emit("rooms");
}

// Creates or updates a room from what a hello, REST or a join says of it; what they leave out stays.
function upsertRoom(facts) {
	const room = rooms.get(facts.id) ?? { id: facts.id, topic: "", lastMessageNo: 0, readMessageNo: 0 };
	rooms.set(room.id, room);
	for (const name of ["name", "topic"]) room[name] = facts[name] ?? room[name];
	if (facts.memberCount !== undefined && facts.lastSeq >= (room.countedSeq ?? 0)) {
		room.memberCount = facts.memberCount;
		room.countedSeq = facts.lastSeq;
	}
	room.log ??= new RoomLog(facts.lastSeq);
	for (const name of ["lastMessageNo", "readMessageNo"]) room[name] = Math.max(room[name], facts[name] ?? 0);
	if (facts.isMember && isReady) onJoined(room); // created here, or joined in another tab
	emit("rooms");
	return room;
}
