// The card at the door: log in or sign up.

import { call } from "./api.js";
import { $, listen, mark, say, text } from "./dom.js";
import { notice } from "./storage.js";

const FIELDS = ["username", "email", "password"];
const WORDS = {
	login: ["Log in", "New here?", "Create an account"],
	signup: ["Sign up", "Been here before?", "Log in"],
};

let mode;

export function open(onIn) {
	const again = notice();
	if (again) {
		say("card-notice", "Your session has ended. Log in again: your drafts are kept.");
		$("email").value = again;
	}
	listen("card-switch", "click", () => turn(mode === "login" ? "signup" : "login"));
	listen("card", "submit", async (event) => {
		event.preventDefault();
		const values = Object.fromEntries(new FormData($("card")));
		const errors = checked(values);
		wrong(errors);
		if (Object.keys(errors).length) return;
		$("card-go").disabled = true;
		try {
			const { token, user } = await call("POST", `/v1/auth/${mode}`, values);
			$("door").remove(); // no password stays in the page
			onIn({ token, user });
		} catch (error) {
			wrong(placed(error));
			$("card-go").disabled = false;
		}
	});
	$("door").hidden = false;
	turn("login");
}

function turn(to) {
	mode = to;
	const signup = mode === "signup";
	const [title, question, other] = WORDS[mode];
	$("field-username").hidden = $("password-note").hidden = !signup;
	$("username").disabled = !signup;
	$("password").autocomplete = signup ? "new-password" : "current-password";
	text("card-title", title);
	text("card-go", title);
	text("card-question", question);
	text("card-switch", other);
	document.title = `${title} – Chat`;
	wrong({});
	FIELDS.map($).find(({ disabled, value }) => !disabled && !value)?.focus();
}

function wrong(errors) {
	mark(errors, ...FIELDS);
	say("card-error", errors.all);
}

function checked({ username, email, password }) {
	const errors = {};
	if (username === "") errors.username = "Choose a name.";
	if (!email.trim()) errors.email = "Enter your e-mail address.";
	if (!password) errors.password = "Enter a password.";
	else if (mode === "signup" && password.length < 8) errors.password = "At least 8 characters, please.";
	return errors;
}

// The server's refusal, at the field that it names.
function placed({ code, message }) {
	const field = code === "wrong_credentials" ? "password" : FIELDS.find((name) => message.toLowerCase().startsWith(`${name} `));
	return { [field ?? "all"]: message };
}
