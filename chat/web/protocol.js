// The numbers and words of the chat.v2 websocket. A test compares them with the server's.

// The `type` of a frame. MESSAGE, MEMBER and ROOM are also the kinds of events.
export const FRAME = Object.freeze({
	MESSAGE: 1, MEMBER: 5, ROOM: 6, HELLO: 10, RESUME: 11, ACK: 13, ERROR: 14, READ_MARKER: 17,
});

// The `action` of an event: CREATED of a room, the others of a member.
export const ACTION = Object.freeze({ CREATED: "created", JOINED: "joined", LEFT: "left" });

// Why a websocket was closed. ABNORMAL is the browser's own code for a connection that was lost.
export const CLOSE = Object.freeze({ ABNORMAL: 1006, POLICY_VIOLATION: 1008, SESSION_OVER: 4001 });
