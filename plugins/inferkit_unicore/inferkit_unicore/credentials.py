"""Who you are, without keeping it: secrets are read where they lie, when a request needs them.

A `Credentials` answers `get_auth_header()`, which is all that pyunicore asks of one.  It cannot be
pickled, does not show itself, and takes every secret that it ever gave out of texts (`redact`).
"""

from __future__ import annotations

import base64
import os
import shlex
import stat
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inferkit.errors import ConfigError, ExecutorError
from inferkit_unicore.config import UnicoreConfig

KEEP_SECONDS = 60.0
"""How long the answer of a token command or function is used without asking again."""


class Credentials:
    """Gives the Authorization header for each request."""

    def __init__(self, kind: str, label: str, header: Callable[[], str], *, renews: bool):
        self.kind, self.label, self.renews = kind, label, renews
        self._header = header
        self._given: dict[str, None] = {}
        self._kept: tuple[float, str] | None = None

    def get_auth_header(self) -> str:
        if self._kept is None or time.monotonic() - self._kept[0] > KEEP_SECONDS:
            header = self._header()
            if "\n" in header or "\r" in header:
                raise ExecutorError(f"the secret of {self.label} has a line break in it")
            self.hide(header.partition(" ")[2])
            self._kept = time.monotonic(), header
        return self._kept[1]

    def renew(self) -> None:
        """The site refused the last header: make a new one."""
        self._kept = None

    def hide(self, secret: str) -> None:
        if len(secret) > 3:
            self._given[secret] = None

    def redact(self, text: str) -> str:
        for secret in self._given:
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"<credentials: {self.label}>"

    def __reduce__(self):
        raise TypeError("credentials are not pickled")


def find(config: UnicoreConfig, http: Any) -> Credentials:
    """The credentials that the settings name.  `http`: makes an httpx client (for OIDC)."""
    kind = config.auth if config.auth != "auto" else _guess(config)
    return {"password": _password, "token": _token, "jwt": _jwt, "oidc": _oidc,
            "oidc-agent": _agent}[kind](config, http)


def _guess(config: UnicoreConfig) -> str:
    if config.token_file or config.token_command or config.token_function:
        return "token"
    if config.key_file:
        return "jwt"
    if config.oidc_endpoint:
        return "oidc"
    if config.oidc_account:
        return "oidc-agent"
    if os.environ.get(config.token_env):
        return "token"
    if _username(config):
        return "password"
    raise ExecutorError(
        f"no credentials for {config.site or config.registry}",
        allowed=f"{config.token_env}, token_file, token_command, token_function; username and "
                f"{config.password_env}; key_file; oidc_endpoint; oidc_account",
        fix=f"export {config.token_env}=…")


def _username(config: UnicoreConfig) -> str:
    return config.username or os.environ.get("UNICORE_USER", "")


def _password_of(config: UnicoreConfig) -> str:
    if config.password_file:
        return _read(config.password_file)
    if config.password_env not in os.environ:
        raise ExecutorError(f"no password for user {_username(config)!r}",
                            allowed=f"{config.password_env} in the environment, or password_file",
                            fix=f"read -rs {config.password_env} && export {config.password_env}")
    return os.environ[config.password_env]


def _read(name: str) -> str:
    file = Path(name).expanduser()
    try:
        if file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            warnings.warn(f"{file} can be read by others: chmod 600 {file}", stacklevel=2)
        return file.read_text().strip()
    except OSError as cause:
        problem = cause.strerror
    raise ExecutorError(f"{file}: {problem}", fix="see token_file and password_file")


def _password(config: UnicoreConfig, http: Any) -> Credentials:
    def header() -> str:
        name, password = _username(config), _password_of(config)
        made.hide(password)
        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    made = Credentials("password", f"user {_username(config)!r} by password", header,
                       renews=bool(config.password_file))
    return made


def _token(config: UnicoreConfig, http: Any) -> Credentials:
    if config.token_function:
        from inferkit import plugins

        function = plugins.resolve(config.token_function, "token_function")
        label, give, renews = config.token_function, lambda: str(function()), True
    elif config.token_command:
        label, give, renews = "token_command", lambda: _output(config.token_command), True
    elif config.token_file:
        label, give, renews = config.token_file, lambda: _read(config.token_file), True
    else:
        def from_environment() -> str:
            token = os.environ.get(config.token_env, "")
            if not token:
                raise ExecutorError(f"{config.token_env} is not set",
                                    fix=f"export {config.token_env}=…")
            return token

        label, give, renews = f"{config.token_env} in the environment", from_environment, False
    return Credentials("token", f"token from {label}", lambda: f"Bearer {give().strip()}",
                       renews=renews)


def _output(command: str) -> str:
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60,
                              check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
        problem = f"ended with {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as cause:
        problem = type(cause).__name__
    raise ExecutorError(f"token_command {shlex.split(command)[0]!r} gave no token: {problem}",
                        fix="run it by hand")


def _jwt(config: UnicoreConfig, http: Any) -> Credentials:
    if not _username(config):
        raise ConfigError("executor 'unicore': auth by key_file needs a username")
    file = Path(config.key_file).expanduser()
    if not file.is_file():
        raise ExecutorError(f"no key file {file}")
    from pyunicore.credentials import create_credential

    passphrase = os.environ.get(config.password_env)
    try:
        held = create_credential(username=_username(config), password=passphrase,
                                 identity=str(file.resolve()))
    except Exception as cause:
        problem = type(cause).__name__
    else:
        return Credentials("jwt", f"key {file.name} of {_username(config)!r}",
                           held.get_auth_header, renews=True)
    raise ExecutorError(f"{file} is no private key that can be read ({problem})",
                        allowed="an SSH or PEM key; its passphrase in " + config.password_env)


def _agent(config: UnicoreConfig, http: Any) -> Credentials:
    from pyunicore.credentials import OIDCAgentToken

    held = OIDCAgentToken(config.oidc_account)

    def header() -> str:
        try:
            return held.get_auth_header()
        except (OSError, TypeError, ValueError, KeyError) as cause:
            problem = type(cause).__name__
        raise ExecutorError(f"oidc-agent gives no token for {config.oidc_account!r} ({problem})",
                            fix=f"eval $(oidc-agent) && oidc-add {config.oidc_account}")

    return Credentials("oidc-agent", f"oidc-agent {config.oidc_account!r}", header, renews=True)


def _oidc(config: UnicoreConfig, http: Any) -> Credentials:
    """Tokens from a token endpoint, held in memory only; renewed by the refresh token if any."""
    held: dict[str, Any] = {}

    def header() -> str:
        if held.get("refresh") and (token := ask("refresh_token", refresh_token=held["refresh"])):
            return f"Bearer {token}"
        password = _password_of(config)
        made.hide(password)
        token = ask("password", username=_username(config), password=password,
                    scope=config.oidc_scope)
        if not token:
            raise ExecutorError(f"{config.oidc_endpoint} gives no token: {held.get('problem')}",
                                fix=f"check username and {config.password_env}")
        return f"Bearer {token}"

    def ask(grant: str, **form: str) -> str:
        form |= {"grant_type": grant, "client_id": config.oidc_client}
        if secret := os.environ.get(config.oidc_secret_env):
            made.hide(secret)
            form["client_secret"] = secret
        try:
            with http() as client:
                reply = client.post(config.oidc_endpoint, data=form)
            told = reply.json() if reply.status_code == 200 else {}
            held["problem"] = f"status {reply.status_code}"
        except Exception as cause:
            told, held["problem"] = {}, type(cause).__name__
        held["refresh"] = told.get("refresh_token", "")
        made.hide(held["refresh"])
        return told.get("access_token", "")

    made = Credentials("oidc", f"{_username(config)!r} at {config.oidc_endpoint}", header, renews=True)
    return made
