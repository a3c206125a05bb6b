// Whoever has a session chats, everybody else stands at the door.

import { open } from "./login.js";
import { enter, session } from "./storage.js";

const chat = () => import("./app.js");

if (session) chat();
else {
	open((fresh) => {
		enter(fresh);
		chat();
	});
}
