// The part of one room's log that this page has: the events `first` to `last`, without holes. The server numbers the
// events of a room 1, 2, 3 …, so the numbers prove that none is missing and that none is shown twice.

export class RoomLog {
	// Begins empty after event `seq`; it grows at its end with new events and at its start as the user reads back.
	constructor(seq) {
		this.first = seq + 1;
		this.last = seq;
		this.entries = []; // {key, at, frame}: the events, and between them the commands, which are not events
		this.reorderBuffer = new Map(); // seq → event that came before the one that precedes it
		this.commandIds = new Set(); // the commands among the entries
	}

	// Adds an event, in order and once. Returns the events that have become part of the log by it.
	append(frame) {
		if (frame.seq > this.last) this.reorderBuffer.set(frame.seq, frame);
		const added = [];
		for (let next; (next = this.reorderBuffer.get(this.last + 1)); this.last += 1) {
			this.reorderBuffer.delete(next.seq);
			added.push(next);
		}
		this.entries.push(...added.map(toEntry));
		return added;
	}

	// Adds older events, up to the one before `first`.
	prepend(frames) {
		this.first = frames[0].seq;
		this.entries.unshift(...frames.map(toEntry));
	}

	// Adds a command. Returns false if it is there already.
	addCommand(frame) {
		if (this.commandIds.has(frame.requestId)) return false;
		this.commandIds.add(frame.requestId);
		this.entries.push({ key: frame.requestId, at: new Date(), frame });
		return true;
	}

	// Removes the oldest entries; at least `limit` stay.
	trim(limit) {
		let cut = this.entries.length - limit;
		while (cut > 0 && !this.entries[cut].frame.seq) cut -= 1; // `first` has to be an event
		if (cut <= 0) return;
		this.first = this.entries[cut].frame.seq;
		this.entries.splice(0, cut);
	}
}

const toEntry = (frame) => ({ key: frame.seq, at: new Date(frame.createdAt), frame });
