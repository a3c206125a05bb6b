// Publish/subscribe between the modules. The events and their arguments:
//
//   connection  state          the websocket was opened or closed, or is being opened
//   frame       frame          a frame has come
//   rooms                      the list of rooms or an unread count has changed
//   log         roomId         what a room's timeline shows has changed
//   message     room, frame    another user has written a message
//   members     room           a user has joined or left

const target = new EventTarget();

export const on = (type, listener) => target.addEventListener(type, ({ detail }) => listener(...detail));
export const emit = (type, ...detail) => target.dispatchEvent(new CustomEvent(type, { detail }));
