// Dates, times and numbers as text. The language is English; the user's locale decides between 12 and 24 hours and on
// the order of day and month.

const locale = navigator.languages.find((tag) => tag.startsWith("en")) ?? "en-GB";
const format = (options) => new Intl.DateTimeFormat(locale, options).format;
const longDate = format({ weekday: "long", day: "numeric", month: "long", year: "numeric" });

export const timeOf = format({ hour: "numeric", minute: "2-digit" });
export const exactTime = format({ dateStyle: "full", timeStyle: "medium" });
export const dayOf = (date) => date.toDateString();

export function dayName(date) {
	const now = new Date();
	if (dayOf(date) === dayOf(now)) return "Today";
	now.setDate(now.getDate() - 1);
	if (dayOf(date) === dayOf(now)) return "Yesterday";
	return longDate(date);
}

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString(locale)} ${n === 1 ? one : many}`;
export const badge = (n) => (n > 99 ? "99+" : n);
