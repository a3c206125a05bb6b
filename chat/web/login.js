// The form to log in or sign up.

import { call } from "./api.js";
import { $, listen, setText, setTextOrHide, showErrors } from "./dom.js";
import { takeExpiredEmail } from "./storage.js";

const FIELDS = ["username", "email", "password"];
const LABELS = {
	login: ["Log in", "No account yet?", "Create an account"],
	signup: ["Sign up", "Already have an account?", "Log in"],
};

let mode; // "login" or "signup": also the last part of the address

// Shows the form. `onLogin({token, user})` is called once, after it has been removed.
export function openLogin(onLogin) {
	const email = takeExpiredEmail();
	if (email) {
		setTextOrHide("login-notice", "Your session has ended. Log in again. Your drafts are kept.");
		$("email").value = email;
	}
	listen("login-switch", "click", () => setMode(mode === "login" ? "signup" : "login"));
	listen("login-form", "submit", async (event) => {
		event.preventDefault();
		const values = Object.fromEntries(new FormData($("login-form")));
		const errors = validate(values);
		showFormErrors(errors);
		if (Object.keys(errors).length) return;
		$("login-submit").disabled = true;
		try {
			const { token, user } = await call("POST", `/v1/auth/${mode}`, values);
			$("login").remove(); // no password stays in the page
			onLogin({ token, user });
		} catch (error) {
			showFormErrors(serverErrors(error));
			$("login-submit").disabled = false;
		}
	});
	$("login").hidden = false;
	setMode("login");
}

function setMode(next) {
	mode = next;
	const isSignup = mode === "signup";
	const [title, question, other] = LABELS[mode];
	$("field-username").hidden = $("password-hint").hidden = !isSignup;
	$("username").disabled = !isSignup;
	$("password").autocomplete = isSignup ? "new-password" : "current-password";
	setText("login-title", title);
	setText("login-submit", title);
	setText("login-question", question);
	setText("login-switch", other);
	document.title = `${title} – Chat`;
	showFormErrors({});
	FIELDS.map($).find(({ disabled, value }) => !disabled && !value)?.focus();
}

// `errors`: a text by the name of its field, or `form` if it belongs to none.
function showFormErrors(errors) {
	showErrors(errors, ...FIELDS);
	setTextOrHide("login-error", errors.form);
}

function validate({ username, email, password }) {
	const errors = {};
	if (username === "") errors.username = "Enter a user name.";
	if (!email.trim()) errors.email = "Enter your e-mail address.";
	if (!password) errors.password = "Enter a password.";
	else if (mode === "signup" && password.length < 8) errors.password = "The password needs at least 8 characters.";
	return errors;
}

// The server's error, at the field with whose name it begins.
function serverErrors({ code, message }) {
	const named = FIELDS.find((name) => message.toLowerCase().startsWith(`${name} `));
	return { [code === "wrong_credentials" ? "password" : named ?? "form"]: message };
}
