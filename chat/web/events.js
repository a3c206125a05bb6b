// What happens, told to whoever listens: `link` state, `frame` frame, `rooms` (list, counts), `log` id (what a room shows),
// `heard` room, frame (somebody spoke), `people` room (somebody came or went).

const bus = new EventTarget();

export const on = (type, listener) => bus.addEventListener(type, ({ detail }) => listener(...detail));
export const tell = (type, ...detail) => bus.dispatchEvent(new CustomEvent(type, { detail }));
