// One room's log, as far as this page has it: a stretch without holes, from `first` to `last`. Pure: no page, no wire.
//
// The server numbers a room's events 1, 2, 3 …: so a number proves that nothing is missing, and an old one that nothing
// comes twice. An event too far ahead waits in `early` until its elders are here.

export class RoomLog {
	// An empty stretch after event `at`: it grows as things happen, and at its head as somebody reads back.
	constructor(at) {
		this.first = at + 1;
		this.last = at;
		this.entries = []; // {key, at, frame}: the events, and among them lines that are not in the log
		this.early = new Map();
		this.lines = new Set();
	}

	// Takes an event from wherever; the events that are new by it, in order.
	take(frame) {
		if (frame.seq > this.last) this.early.set(frame.seq, frame);
		const fresh = [];
		for (let next; (next = this.early.get(this.last + 1)); this.last += 1) {
			this.early.delete(next.seq);
			fresh.push(next);
		}
		this.entries.push(...fresh.map(entry));
		return fresh;
	}

	// Older events, up to the one before `first`.
	prepend(frames) {
		this.first = frames[0].seq;
		this.entries.unshift(...frames.map(entry));
	}

	// A line without a number (a command): shown where it came, once. False: it is there already.
	line(frame) {
		if (this.lines.has(frame.clientId)) return false;
		this.lines.add(frame.clientId);
		this.entries.push({ key: frame.clientId, at: new Date(), frame });
		return true;
	}

	// Forgets all but the latest, at least `most`.
	trim(most) {
		let cut = this.entries.length - most;
		while (cut > 0 && !this.entries[cut].frame.seq) cut -= 1;
		if (cut <= 0) return;
		this.first = this.entries[cut].frame.seq;
		this.entries.splice(0, cut);
	}
}

const entry = (frame) => ({ key: frame.seq, at: new Date(frame.createdAt), frame });
