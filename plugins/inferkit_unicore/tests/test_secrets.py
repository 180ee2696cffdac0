"""Secrets: many ways to give one, and none of them leaves a trace."""

import copy
import http.server
import json
import logging
import os
import pickle
import sys
import threading
import traceback
import urllib.parse

import httpx
import pytest
from inferkit_unicore import credentials
from inferkit_unicore.config import UnicoreConfig
from inferkit_unicore.transport import homebound
from unicore_helpers import N, remote_study

from inferkit.errors import InferkitError

SECRET = "s3cr3t-T0ken-that-must-not-leak"


@pytest.fixture
def token(site, monkeypatch):
    monkeypatch.delenv("UNICORE_PASSWORD")
    site.users.tokens[SECRET] = "demouser"
    return SECRET


def test_token_from_environment(token, finish, monkeypatch):
    monkeypatch.setenv("UNICORE_TOKEN", token)
    finish(username="")


def test_token_from_file_is_read_again_when_refused(site, token, finish, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text(token + "\n")
    file.chmod(0o600)

    def renew():
        from unicore_helpers import wait_for

        wait_for(lambda: site.count("POST", "/jobs$", 201) == 1)
        file.write_text("another-secret")
        site.users.tokens.clear()
        site.users.tokens["another-secret"] = "demouser"
        site.users.forget_sessions()

    threading.Thread(target=renew, daemon=True).start()
    finish(username="", token_file=str(file))
    assert site.users.tokens.keys() == {"another-secret"}


def test_a_token_file_that_others_can_read(tmp_path):
    file = tmp_path / "token"
    file.write_text("abcdef")
    file.chmod(0o644)
    config = UnicoreConfig(site="https://h/S/rest/core", token_file=str(file))
    with pytest.warns(UserWarning, match="chmod 600"):
        credentials.find(config, None).get_auth_header()


def test_token_from_command(token, finish, tmp_path):
    program = tmp_path / "give"
    program.write_text(f"#!/bin/sh\necho {token}\n")
    program.chmod(0o700)
    finish(username="", token_command=str(program))
    config = UnicoreConfig(site="https://h/S/rest/core", token_command="false")
    with pytest.raises(InferkitError, match="gave no token"):
        credentials.find(config, None).get_auth_header()


def test_token_from_function(token, finish, monkeypatch):
    monkeypatch.setattr("unicore_helpers.give_token", lambda: token, raising=False)
    finish(username="", token_function="unicore_helpers:give_token")


def test_jwt_signed_by_a_key(site, finish, tmp_path, monkeypatch):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    monkeypatch.delenv("UNICORE_PASSWORD")
    key = ed25519.Ed25519PrivateKey.generate()
    file = tmp_path / "id"
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM,
                                       serialization.PrivateFormat.OpenSSH,
                                       serialization.NoEncryption()))
    public = key.public_key().public_bytes(serialization.Encoding.PEM,
                                           serialization.PublicFormat.SubjectPublicKeyInfo)
    site.users.jwt_keys["demouser"] = (public.decode(), "EdDSA")
    finish(key_file=str(file))
    file.write_text("no key")
    with pytest.raises(InferkitError, match="no private key"):
        remote_study(site, tmp_path / "other", key_file=str(file)).simulate(N)


def test_oidc_password_and_refresh(site, finish, monkeypatch):
    """A token endpoint: the first token by password, later ones by the refresh token."""
    grants = []

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            form = dict(urllib.parse.parse_qsl(
                self.rfile.read(int(self.headers["Content-Length"])).decode()))
            grants.append(form["grant_type"])
            good = (form.get("password") == "test123" or form.get("refresh_token") == "again-1"
                    ) and form["client_secret"] == "client-secret"
            token = f"oidc-token-{len(grants)}"
            if good:
                site.users.tokens = {token: "demouser"}  # the former one expires at once
                site.users.forget_sessions()
            body = json.dumps({"access_token": token, "refresh_token": "again-1"}).encode()
            self.send_response(200 if good else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("UNICORE_OIDC_SECRET", "client-secret")
    monkeypatch.setattr(credentials, "KEEP_SECONDS", 0.3)
    try:
        finish(oidc_endpoint=f"http://127.0.0.1:{server.server_address[1]}/token",
               oidc_client="inferkit")
    finally:
        server.shutdown()
        server.server_close()
    assert grants[0] == "password" and set(grants[1:]) == {"refresh_token"}


def test_oidc_agent_is_not_running(monkeypatch):
    monkeypatch.delenv("OIDC_SOCK", raising=False)
    config = UnicoreConfig(site="https://h/S/rest/core", oidc_account="mine")
    with pytest.raises(InferkitError, match="oidc-add mine"):
        credentials.find(config, None).get_auth_header()


@pytest.mark.parametrize("kind", ["token", "password"])
def test_no_secret_anywhere(site, tmp_path, monkeypatch, caplog, capfd, kind):
    """Logs at DEBUG, output, reprs, pickles, errors, the run's folder, the site's disk."""
    if kind == "token":
        monkeypatch.setenv("UNICORE_TOKEN", SECRET)
        monkeypatch.delenv("UNICORE_PASSWORD")
        site.users.tokens[SECRET] = "demouser"
        changes = {"username": ""}
        needles = [SECRET]
    else:
        import base64

        monkeypatch.setitem(site.users.passwords, "demouser", SECRET)
        monkeypatch.setenv("UNICORE_PASSWORD", SECRET)
        monkeypatch.delenv("UNICORE_TOKEN", raising=False)
        changes = {}
        needles = [SECRET, base64.b64encode(f"demouser:{SECRET}".encode()).decode()]
    caplog.set_level(logging.DEBUG)
    texts = []
    (tmp_path / "more").write_text("sent along")
    study = remote_study(site, tmp_path / "run", stage=[str(tmp_path / "more")], **changes)
    site.faults.add("status", "POST", "/jobs$", code=503, message=f"who sent {needles[-1]}?")
    study.simulate(N)
    sessions = list(site.users._sessions)
    runner = study.executor.build()
    runner.open(study.running.job())
    runner._connect()
    kept = runner._site
    texts += [repr(o) for o in (study.executor, study.executor.config, runner, kept, kept.who,
                                kept.transport, vars(runner))]
    texts.append(str(study.executor.to_config()) + str(study.running.job()))
    for thing in (runner, kept, kept.who, kept.transport, kept.client):
        with pytest.raises(Exception) as refused:  # noqa: PT011, B017
            pickle.dumps(thing)
        texts.append(repr(refused.value))
    with pytest.raises(TypeError):
        copy.deepcopy(kept.who)
    pickle.dumps(study.executor)  # the settings are: they hold no secret
    texts.append(pickle.dumps(study.executor).decode("latin-1"))
    runner.close()
    # errors, with the server echoing the secret back
    for code in (403, 400):
        site.faults.add("status", "GET", "core$", times=9, code=code, message=f"no {needles[-1]}")
        with pytest.raises(InferkitError) as caught:
            remote_study(site, tmp_path / "other", **changes).simulate(N)
        site.faults.clear()
        texts += [str(caught.value), repr(caught.value), pickle.dumps(caught.value).decode("latin-1"),
                  "".join(traceback.format_exception(caught.value))]
        seen = caught.value
        while seen is not None:  # nothing hangs on behind that holds a request
            texts.append(str(vars(seen)))
            assert not hasattr(seen, "request")
            seen = seen.__cause__ or seen.__context__
    texts += [caplog.text, *capfd.readouterr()]
    for folder in (tmp_path, site.root):
        for file in folder.rglob("*"):
            if file.is_file() and file.name != "cert.pem":
                texts.append(file.read_bytes().decode("latin-1"))
    for needle in needles + sessions:
        for text in texts:
            at = text.find(needle)
            assert at < 0, text[max(0, at - 200) : at]
    assert len(texts) > 20


def test_the_nodes_environment_has_no_secret(site, tmp_path, monkeypatch):
    def look(theta, rng):
        return {"x": float(any("PASSWORD" in k or "TOKEN" in k for k in os.environ))}

    monkeypatch.setattr(sys.modules[__name__], "__file__", __file__)
    study = remote_study(site, tmp_path / "run", look)
    study.simulate(4)
    assert study.simulations.x()["x"].max() == 0


@pytest.mark.parametrize("link, match", [
    ("https://elsewhere.example/SITE/rest/core/jobs/1", "leads to https://elsewhere.example"),
    ("http://site.example/SITE/rest/core/jobs/1", "leads to http://site.example"),
    ("https://site.example:8443/SITE/rest/core/jobs/1", "credentials do not go"),
])
def test_links_to_other_hosts_get_no_credentials(link, match):
    """An answer's links are followed within the site's own origin alone."""
    with httpx.Client() as http:
        homebound(http, lambda: ("https://site.example/SITE/rest/core", ""))
        with pytest.raises(InferkitError, match=match):
            http.get(link, headers={"Authorization": f"Bearer {SECRET}"})


def test_a_site_that_is_not_encrypted_gets_no_credentials():
    with httpx.Client() as http:
        homebound(http, lambda: ("http://site.example/SITE/rest/core", ""))
        with pytest.raises(InferkitError, match="not encrypted"):
            http.get("http://site.example/SITE/rest/core/jobs/1")
