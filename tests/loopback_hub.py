"""A hub on the loopback interface: the part of the Hugging Face Hub's HTTP interface that a push and a pull need.

Repositories live in memory: commits are dictionaries of path → content, branches and tags point at commits. Small files
go up inside the commit (``regular``), weights over the LFS route, so clients must set ``HF_HUB_DISABLE_XET=1``.

    with LoopbackHub() as hub:
        subprocess.run([...], env={**os.environ, **hub.environment(home)})
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LFS_ENDINGS = (".safetensors",)


@dataclass
class Repo:
    """One repository: what every commit holds, and which commit each branch points at."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Make ``files`` the content of ``branch``; return the new commit's hash."""
        text = f"{len(self.commits)} {branch} {sorted(files)}"
        commit_hash = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit_hash] = dict(files)
        self.branches[branch] = commit_hash
        return commit_hash

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch or a commit's hash; None where there is none."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.resolve(revision)]


class LoopbackHub:
    """The server; ``requests`` lists what it was asked, as (method, path)."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}  # LFS objects by sha256
        self.requests: list[tuple[str, str]] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> LoopbackHub:
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def create(self, repo_id: str, private: bool = False) -> Repo:
        """Add an empty repository with one commit, as the hub does."""
        repo = self.repos[repo_id] = Repo(private)
        repo.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        return repo

    def environment(self, home: Path) -> dict[str, str]:
        """Environment of a client process; the hub's client reads it when it is imported."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": "hf_loopback",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((method, path))
        for allowed, pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method in allowed:
                return answer(self, **match.groupdict())
        self._error(404, None, f"no route for {method} {path}")

    # answers

    def _send(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        headers = {**(headers or {}), "X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._send(status, json.dumps({"error": message}).encode(), {"Content-Type": "application/json", **headers})

    def _find(self, repo_id: str, revision: str) -> tuple[Repo, str] | None:
        repo = self.hub.repos.get(repo_id)
        if repo is None:
            self._error(404, "RepoNotFound", "Repository not found")
        elif (commit := repo.resolve(revision)) is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repo, commit
        return None

    # routes

    def create_repo(self) -> None:
        asked = json.loads(self.body)
        repo_id = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        url = {"url": f"{self.hub.url}/{repo_id}"}
        if repo_id in self.hub.repos:
            return self._json({**url, "error": "You already created this model repo"}, 409)
        self.hub.create(repo_id, private=asked.get("visibility") == "private" or bool(asked.get("private")))
        self._json(url)

    def create_branch(self, repo_id: str, revision: str) -> None:
        if found := self._find(repo_id, "main"):
            repo, commit = found
            if revision in repo.branches:
                return self._error(409, None, "Reference already exists")
            repo.branches[revision] = commit
            self._json({})

    def validate_yaml(self) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, repo_id: str, revision: str) -> None:
        if found := self._find(repo_id, revision):
            files = found[0].files(revision)
            self._json({"files": [self._preupload(asked["path"], files) for asked in json.loads(self.body)["files"]]})

    def _preupload(self, path: str, files: dict[str, bytes]) -> dict:
        mode = "lfs" if path.endswith(LFS_ENDINGS) else "regular"
        known = {"oid": _etag(path, files[path])} if path in files else {}
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, **known}

    def lfs_batch(self, repo_id: str) -> None:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            upload = {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}}
            objects.append({**asked, **({} if asked["oid"] in self.hub.blobs else upload)})
        self._json({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._error(400, None, "content does not match its hash")
        self.hub.blobs[oid] = self.body
        self._send(200)

    def commit(self, repo_id: str, revision: str) -> None:
        if not (found := self._find(repo_id, revision)):
            return
        repo, parent = found
        files = dict(repo.commits[parent])
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"])
        commit_hash = repo.commit(files, revision)
        self._json({"commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit_hash}", "commitOid": commit_hash})

    def info(self, repo_id: str, revision: str = "main") -> None:
        if found := self._find(repo_id, revision):
            repo, commit = found
            names = [{"rfilename": path} for path in repo.commits[commit]]
            self._json({"id": repo_id, "sha": commit, "private": repo.private, "siblings": names, "tags": []})

    def tree(self, repo_id: str, revision: str) -> None:
        if found := self._find(repo_id, revision):
            files = found[0].commits[found[1]].items()
            self._json([_tree_entry(path, content) for path, content in files])

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        if not (found := self._find(repo_id, revision)):
            return
        repo, commit = found
        commit_header = {"X-Repo-Commit": commit}
        content = repo.commits[commit].get(path)
        if content is None:
            return self._error(404, "EntryNotFound", "Entry not found", commit_header)
        self._send(200, content, {**commit_header, "ETag": f'"{_etag(path, content)}"', "Accept-Ranges": "none"})


def _etag(path: str, content: bytes) -> str:
    """Return the sha256 of an LFS file, the git blob's sha1 of another."""
    if path.endswith(LFS_ENDINGS):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _tree_entry(path: str, content: bytes) -> dict:
    entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path.endswith(LFS_ENDINGS):
        entry["lfs"] = {"oid": _etag(path, content), "size": len(content), "pointerSize": 134}
    return entry


_ID = r"(?P<repo_id>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
_ROUTES = (
    ("POST", r"/api/repos/create", _Handler.create_repo),
    ("POST", r"/api/validate-yaml", _Handler.validate_yaml),
    ("POST", rf"/api/models/{_ID}/branch/{_REVISION}", _Handler.create_branch),
    ("POST", rf"/api/models/{_ID}/preupload/{_REVISION}", _Handler.preupload),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put),
    ("POST", rf"/api/models/{_ID}/commit/{_REVISION}", _Handler.commit),
    ("GET", rf"/api/models/{_ID}", _Handler.info),
    ("GET", rf"/api/models/{_ID}/revision/{_REVISION}", _Handler.info),
    ("GET", rf"/api/models/{_ID}/tree/{_REVISION}", _Handler.tree),
    (("GET", "HEAD"), rf"/{_ID}/resolve/{_REVISION}/(?P<path>.+)", _Handler.resolve),
)
