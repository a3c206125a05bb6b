// Whoever has a session chats, everybody else stands at the door.

import { open } from "./door.js";
import { enter, session } from "./keep.js";

const chat = () => import("./app.js");

if (session) chat();
else {
	open((fresh) => {
		enter(fresh);
		chat();
	});
}
