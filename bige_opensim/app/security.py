"""Who may ask for what: hosts, origins, users, and the headers of every answer.

- A page elsewhere cannot reach the app by a name that it makes point here: the `Host` of a request must be known.
- A page elsewhere cannot act for a user: the cookie is never sent along (SameSite=Strict), and what changes something
  (POST) must come from a page of this server (`Origin`).
- Users are told apart by a random cookie that scripts cannot read; the server keeps only its hash, as a folder's name.
- Pages run this app's own script file and no other, and can be framed by nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

COOKIE = "bige"
TOKEN_BYTES = 32
COOKIE_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
SHORTEST_TOKEN = 16
YEAR_S = 365 * 86400

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def scene_policy(script_source: str) -> str:
    """For pages that the package made of a user's files: one known script, no origin, no request, no cookie."""
    return (
        f"sandbox allow-scripts; default-src 'none'; script-src '{script_source}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )


class AccessError(ValueError):
    """Options under which strangers could come in."""


@dataclass(frozen=True)
class Access:
    """Where the server listens and whom it lets in.

    host: address to listen at; token: what users must know, None on this machine alone; names: further names under
    which it is reached; https: whether people come through a proxy that speaks HTTPS.

    Raises
    ------
    AccessError
        It would listen beyond this machine without a token, or with one that can be guessed.

    """

    host: str = "127.0.0.1"
    token: str | None = None
    names: tuple[str, ...] = ()
    https: bool = False

    def __post_init__(self) -> None:
        if not self.loopback and self.token is None:
            raise AccessError(
                f"{self.host} can be reached from other machines: give a --token that users must know, of "
                f"{SHORTEST_TOKEN} characters or more, or leave out --host."
            )
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise AccessError(f"the token has {len(self.token)} characters; {SHORTEST_TOKEN} are the least.")

    @property
    def loopback(self) -> bool:
        """Whether this machine alone can come in."""
        return _is_loopback(self.host)

    def knows_host(self, host: str) -> bool:
        """Whether a request for this `Host` is meant for this server.

        An address is, beyond loopback, whatever it is: only names can be made to point elsewhere.
        """
        name = (urlsplit(f"//{host}").hostname or "").lower()
        if name in {"localhost", self.host.lower(), *(n.lower() for n in self.names)} or _is_loopback(name):
            return True
        return not self.loopback and _is_address(name)

    def is_token(self, given: str) -> bool:
        """Whether somebody knows the token; takes as long for a wrong one."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def same_origin(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Whether a request that changes something comes from a page of this server."""
    if origin is not None:
        return urlsplit(origin).scheme in ("http", "https") and urlsplit(origin).netloc == host
    return fetch_site == "same-origin"


def new_cookie() -> str:
    """What tells one user from others."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def user_of(cookie: str | None) -> str | None:
    """Folder of the user with a cookie; None where it is no cookie of this app."""
    if cookie is None or not COOKIE_VALUE.fullmatch(cookie):
        return None
    return hashlib.sha256(cookie.encode()).hexdigest()[:32]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
