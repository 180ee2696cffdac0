"""Who is asking: Basic, Bearer and JWT credentials, and security sessions."""

from __future__ import annotations

import base64
import binascii
import threading
import uuid

LIFETIME_MS = 28_800_000


class Users:
    """Known passwords, tokens and JWT keys.  Tests change these while the server runs."""

    def __init__(self) -> None:
        self.passwords = {"demouser": "test123"}
        self.tokens: dict[str, str] = {}
        self.jwt_keys: dict[str, tuple[str, str]] = {}  # subject -> (key, algorithm)
        self._sessions: dict[str, str] = {}
        self._lock = threading.Lock()

    def authenticate(self, header: str | None) -> str | None:
        """The user's name; "anonymous" without a header; None where the credential is wrong."""
        if not header:
            return "anonymous"
        kind, _, value = header.partition(" ")
        if kind == "Basic":
            try:
                name, _, password = base64.b64decode(value).decode("ascii").partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
            return name if self.passwords.get(name, None) == password else None
        if kind == "Bearer":
            return self.tokens.get(value) or self._jwt(value)
        return None

    def _jwt(self, token: str) -> str | None:
        import jwt

        try:
            subject = jwt.decode(token, options={"verify_signature": False})["sub"]
            key, algorithm = self.jwt_keys[subject]
            held = jwt.decode(token, key, algorithms=[algorithm], options={"require": ["exp"]})
        except (jwt.InvalidTokenError, KeyError):
            return None
        return held["sub"] if held.get("etd") == "false" else None

    def session(self, user: str) -> str:
        with self._lock:
            for number, owner in self._sessions.items():
                if owner == user:
                    return number
            number = str(uuid.uuid4())
            self._sessions[number] = user
            return number

    def of_session(self, number: str) -> str | None:
        return self._sessions.get(number)

    def forget_sessions(self) -> None:
        with self._lock:
            self._sessions.clear()
