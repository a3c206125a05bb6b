// REST calls: each returns the JSON of the response or throws one kind of error.

import { logOut, savedLogin } from "./storage.js";

const REQUEST_TIMEOUT_MS = 15_000;

// Returns the response's JSON, null if it has none. Throws {status, code, message}: `message` is a text for people, and
// status 0 means that there was no response. The token travels in a header, never in an address.
export const call = async (method, path, body) => (await request(method, path, body)).json;

// Returns the items of all pages of a list: each page names the next one in its Link header.
export async function callPages(path) {
	const items = [];
	while (path) {
		const { json, headers } = await request("GET", path);
		items.push(...json);
		[, path] = /<([^>]+)>; rel="next"/.exec(headers.get("Link")) ?? [];
	}
	return items;
}

async function request(method, path, body) {
	const headers = {};
	if (savedLogin) headers.Authorization = `Bearer ${savedLogin.token}`;
	if (body) headers["Content-Type"] = "application/json";
	let response, json;
	try {
		const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
		response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
		json = response.status === 204 ? null : await response.json();
		if (response.ok) return { json, headers: response.headers };
	} catch {
		throw { status: 0, message: "The server cannot be reached. Check the connection and try again." };
	}
	const { code, message } = json.error;
	if (savedLogin && response.status === 401) logOut({ expired: true });
	throw { status: response.status, code, message: sentence(message) };
}

// A text of the server with a capital letter and a full stop.
export const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
