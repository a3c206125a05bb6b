// One room's log, as far as this page has it: from `first` to `last`, without holes. The server numbers events 1, 2, 3 …:
// so a number proves that nothing is missing, and an old one that nothing comes twice.

export class RoomLog {
	// Nothing after event `at` yet: it grows as things happen, and at its head as somebody reads back.
	constructor(at) {
		this.first = at + 1;
		this.last = at;
		this.entries = []; // {key, at, frame}: the events, and among them commands, which are none
		this.early = new Map(); // events too far ahead, until their elders are here
		this.lines = new Set();
	}

	// Takes an event; those that are new by it.
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

	// A command, shown once. False: it is there already.
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
