"""What each path answers."""

from __future__ import annotations

import json
import re
from typing import Any

from inferkit_unicore.testserver import files, jobs

LIMIT = 200
"""Entries in one page of a listing."""


class Answer(Exception):
    """An answer that ends the request: an error with UNICORE's body, or an empty one."""

    def __init__(self, status: int, message: str | None = None):
        self.status, self.message = status, message


class Routes:
    """The paths of one site; a request handler adds the connection."""

    site: Any
    secure: bool
    where: str  # the path asked for
    query: dict[str, list[str]]
    user: str
    headers: Any

    @property
    def base(self) -> str:
        return self.site.https if self.secure else self.site.http

    def route(self, method: str, body: bytes) -> tuple[int, bytes, dict]:
        if self.where == "/REGISTRY/rest/registries/default_registry":
            return answer_json({"entries": [
                {"href": self.site.https + "?res=default", "type": "CoreServices"},
                {"href": self.site.https.replace("/core", "/workflows"),
                 "type": "WorkflowServices"}]})
        root = f"/{self.site.name}/rest/core"
        if not self.where.startswith(root):
            raise Answer(404)
        path = self.where[len(root) :].rstrip("/")
        if path and self.user == "anonymous":
            raise Answer(403, "Access denied for anonymous")
        for pattern, verb, do in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and verb == method:
                return do(self, *found.groups(), body=body)
        raise Answer(404)

    def _trim(self, told: dict) -> tuple[int, bytes, dict]:
        """Only the `fields` asked for, or all but those with a `!`."""
        names = [f for given in self.query.get("fields", []) for f in given.split(",")]
        if names:
            drop = {n[1:] for n in names if n.startswith("!")}
            keep = {n for n in names if not n.startswith("!")}
            told = {k: v for k, v in told.items() if (k in keep or not keep) and k not in drop}
        return answer_json(told)

    def _root(self, body: bytes) -> tuple[int, bytes, dict]:
        faults, base = self.site.faults, self.base
        role = "anonymous" if self.user == "anonymous" else "user"
        links = ("jobs", "storages", "factories", "transfers", "sites")
        return self._trim({
            "client": {
                "dn": f"CN={self.user}", "role": {"selected": role, "availableRoles": [role]},
                "xlogin": {"UID": self.user, "availableUIDs": [self.user], "group": "demo"},
                "queues": {"selected": self.site.queues[0],
                           "availableQueues": list(self.site.queues)},
            },
            "server": {"version": "10.2.0", "siteName": self.site.name, "jobSubmission": {
                "enabled": faults.submission_enabled, "message": faults.submission_message}},
            "_links": {name: {"href": f"{base}/{name}"} for name in links},
        })

    def _page(self, key: str, urls: list[str]) -> tuple[int, bytes, dict]:
        offset = int(self.query.get("offset", ["0"])[0])
        many = min(LIMIT, int(self.query.get("num", [LIMIT])[0]))
        links = {"self": {"href": f"{self.base}/{key}"}}
        if offset + many < len(urls):
            links["next"] = {"href": f"{self.base}/{key}?offset={offset + many}&num={many}"}
        return answer_json({key: urls[offset : offset + many], "_links": links})

    def _jobs(self, body: bytes) -> tuple[int, bytes, dict]:
        wanted = {t for given in self.query.get("tags", []) for t in given.split(",")}
        if self.site.faults.ignore_tags_filter:
            wanted = set()
        mine = sorted((j for j in self.site.jobs.values() if j.told["owner"] == self.user
                       and wanted <= set(j.told["tags"])), key=lambda j: -j.told["submitted"])
        return self._page("jobs", [f"{self.base}/jobs/{j.id}" for j in mine])

    def _new_job(self, body: bytes) -> tuple[int, bytes, dict]:
        faults = self.site.faults
        if not faults.submission_enabled:
            raise Answer(503, f"Job submission is disabled. {faults.submission_message}")
        description = json.loads(body)
        self.site.posted.append(description)
        job = self.site.submit(description, self.user)
        return 201, b"", {"Location": f"{self.base}/jobs/{job.id}"}

    def _known(self, number: str) -> jobs.Job:
        job = self.site.jobs.get(number)
        if job is None or job.told["owner"] != self.user:
            raise Answer(404)
        return job

    def _job(self, number: str, body: bytes) -> tuple[int, bytes, dict]:
        return self._trim(self._known(number).properties(self.base))

    def _details(self, number: str, body: bytes) -> tuple[int, bytes, dict]:
        self._known(number)
        return answer_json({"rawDetailsData": "N/A"})

    def _submitted(self, number: str, body: bytes) -> tuple[int, bytes, dict]:
        return answer_json(self._known(number).told["description"])

    def _delete_job(self, number: str, body: bytes) -> tuple[int, bytes, dict]:
        self.site.expire(self._known(number))
        return 204, b"", {}

    def _change_job(self, number: str, body: bytes) -> tuple[int, bytes, dict]:
        job, answer = self._known(number), {}
        for name, value in json.loads(body).items():
            if name == "tags":
                job.told["tags"] = list(value)
            answer[name] = "OK" if name in ("tags", "terminationTime") else "unknown property"
        return answer_json(answer)

    def _action(self, number: str, action: str, body: bytes) -> tuple[int, bytes, dict]:
        job = self._known(number)
        if action == "start":
            job.start()
        elif action == "abort":
            job.abort()
        elif action != "restart":
            raise Answer(404)
        return 204, b"", {}

    def _storages(self, body: bytes) -> tuple[int, bytes, dict]:
        names = [p.name for p in sorted((self.site.root / "storages").iterdir())]
        if self.query.get("filter") == ["all"]:
            names += [f"{n}-uspace" for n in self.site.jobs]
        return self._page("storages", [f"{self.base}/storages/{n}" for n in names])

    def _root_of(self, name: str) -> Any:
        root = self.site.storage(name)
        if root is None:
            raise Answer(404)
        return root

    def _storage(self, name: str, body: bytes) -> tuple[int, bytes, dict]:
        root, me = self._root_of(name), f"{self.base}/storages/{name}"
        faults = self.site.faults
        busy = faults.initializing > 0 and faults.use("initializing")
        return self._trim({
            "resourceStatus": "INITIALIZING" if busy else "READY", "mountPoint": f"{root}/",
            "protocols": ["BFT"], "umask": "77",
            "_links": {"self": {"href": me}, "files": {"href": f"{me}/files"},
                       "action:rename": {"href": f"{me}/actions/rename"},
                       "action:copy": {"href": f"{me}/actions/copy"}},
        })

    def _get_file(self, name: str, path: str, body: bytes) -> tuple[int, bytes, dict]:
        root = self._root_of(name)
        if self.headers.get("Accept") == "application/octet-stream":
            status, data = files.read(root, path, self.headers.get("Range"))
            if status == 416:
                raise Answer(416, "Range not satisfiable")
            return status, data, {"Content-Type": "application/octet-stream"}
        return self._trim(files.describe(root, path))

    def _put_file(self, name: str, path: str, body: bytes) -> tuple[int, bytes, dict]:
        files.write(self._root_of(name), path, body)
        return 204, b"", {}

    def _post_file(self, name: str, path: str, body: bytes) -> tuple[int, bytes, dict]:
        files.make_folder(self._root_of(name), path)
        return 201, b"", {}

    def _delete_file(self, name: str, path: str, body: bytes) -> tuple[int, bytes, dict]:
        files.remove(self._root_of(name), path)
        return 204, b"", {}

    def _move_file(self, name: str, action: str, body: bytes) -> tuple[int, bytes, dict]:
        told = json.loads(body)
        files.rename(self._root_of(name), told["from"], told["to"], action == "copy")
        return 204, b"", {}

    def _factories(self, body: bytes) -> tuple[int, bytes, dict]:
        return answer_json({"factories": [f"{self.base}/factories/default_target_system_factory"]})

    def _factory(self, body: bytes) -> tuple[int, bytes, dict]:
        return answer_json({"resources": {q: {"Nodes": "1-4", "Runtime": "1-86400"}
                                    for q in self.site.queues},
                      "applications": ["Date v1.0"], "_links": {}})

    def _token(self, body: bytes) -> tuple[int, bytes, dict]:
        import secrets

        token = secrets.token_urlsafe(24)
        self.site.users.tokens[token] = self.user
        return 200, token.encode(), {"Content-Type": "text/plain"}


def answer_json(told: Any) -> tuple[int, bytes, dict]:
    return 200, json.dumps(told).encode(), {"Content-Type": "application/json"}


_JOB, _STORAGE = r"/jobs/([0-9a-f-]+)", r"/storages/([^/]+)"
_ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("", "GET", Routes._root),
    ("/jobs", "GET", Routes._jobs),
    ("/jobs", "POST", Routes._new_job),
    (_JOB, "GET", Routes._job),
    (_JOB, "PUT", Routes._change_job),
    (_JOB, "DELETE", Routes._delete_job),
    (_JOB + "/details", "GET", Routes._details),
    (_JOB + "/submitted", "GET", Routes._submitted),
    (_JOB + r"/actions/(\w+)", "POST", Routes._action),
    ("/storages", "GET", Routes._storages),
    (_STORAGE, "GET", Routes._storage),
    (_STORAGE + r"/actions/(rename|copy)", "POST", Routes._move_file),
    (_STORAGE + r"/files(?:/(.*))?", "GET", lambda h, s, p, body: h._get_file(s, p or "", body)),
    (_STORAGE + r"/files/(.+)", "PUT", Routes._put_file),
    (_STORAGE + r"/files/(.+)", "POST", Routes._post_file),
    (_STORAGE + r"/files/(.+)", "DELETE", Routes._delete_file),
    ("/factories", "GET", Routes._factories),
    ("/factories/default_target_system_factory", "GET", Routes._factory),
    ("/token", "GET", Routes._token),
)
