// What happens, told to whoever listens: `link` state · `frame` frame · `rooms` list or counts · `log` room: what it
// shows · `heard` room, frame: somebody spoke just now · `people` room: somebody came or went.

const bus = new EventTarget();

export const on = (type, listener) => bus.addEventListener(type, ({ detail }) => listener(...detail));
export const tell = (type, ...detail) => bus.dispatchEvent(new CustomEvent(type, { detail }));
