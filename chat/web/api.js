// REST: one call, one answer or one error.

import { leave, session } from "./storage.js";

const PATIENCE_MS = 15_000;

// The answer's JSON, null for none. Throws {status, code, message}: a text for people; status 0 is no answer.
// The token travels in a header, never in an address.
export async function call(method, path, body) {
	const headers = {};
	if (session) headers.Authorization = `Bearer ${session.token}`;
	if (body) headers["Content-Type"] = "application/json";
	let response, answer;
	try {
		const signal = AbortSignal.timeout(PATIENCE_MS);
		response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
		answer = response.status === 204 ? null : await response.json();
		if (response.ok) return answer;
	} catch {
		throw { status: 0, message: "The server cannot be reached. Check the connection and try again." };
	}
	const { code, message } = answer.error;
	if (session && response.status === 401) leave({ ended: true });
	throw { status: response.status, code, message: sentence(message) };
}

// The server's texts begin small and end without a dot.
export const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
