// Entry point: users who are logged in see the chat, all others the log-in form.

import { openLogin } from "./login.js";
import { savedLogin, saveLogin } from "./storage.js";

const openChat = () => import("./app.js");

if (savedLogin) openChat();
else {
	openLogin((login) => {
		saveLogin(login);
		openChat();
	});
}
