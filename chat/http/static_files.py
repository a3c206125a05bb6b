"""The page: the static files of chat/web, served as they lie there.

The headers take from the page what it does not need. Scripts and styles come from this server alone, and no markup
can bring its own; no text becomes markup (trusted types); nobody frames the page; no address leaves it. Files are
revalidated at every load: a new server never meets an old page.
"""

from pathlib import Path

from aiohttp import hdrs, web

from chat.errors import NotFound

WEB = Path(__file__).parents[1] / "web"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

# connect-src 'self' holds for the websocket, too.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    hdrs.CACHE_CONTROL: "no-cache",  # keep it, and ask with its ETag whether it is still good
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# The whole table: an address can name nothing else.
FILES = {path.name: path for path in sorted(WEB.iterdir()) if path.suffix in TYPES}


async def index(request: web.Request) -> web.StreamResponse:
    """GET /: the page itself."""
    return _file(FILES["index.html"])


async def static(request: web.Request) -> web.StreamResponse:
    """GET /web/:name: one of its files. Raises `NotFound`."""
    path = FILES.get(request.match_info["name"])
    if path is None:
        raise NotFound(f"there is nothing at {request.path}")
    return _file(path)


def _file(path: Path) -> web.StreamResponse:
    # The type is said here: the table of the machine may call a script something that nosniff then refuses.
    return web.FileResponse(path, headers={**HEADERS, hdrs.CONTENT_TYPE: f"{TYPES[path.suffix]}; charset=utf-8"})
