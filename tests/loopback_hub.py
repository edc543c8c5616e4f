"""A hub on the loopback interface: the part of the Hugging Face Hub's HTTP interface that a push and a pull need.

Repositories live in memory, Spaces as ``spaces/owner/name`` and data sets as ``datasets/owner/name``: commits are
dictionaries of path → content, branches and tags point at commits. Small files go up inside the commit (``regular``),
weights over the LFS route (``environment`` switches Xet off), or over Xet, whose client can store in a folder of this
machine, ``xet_folder``. The network can be made worse: a ``Fault`` answers some requests with an error, late, damaged
or cut off.

    with LoopbackHub() as hub:
        hub.faults.append(Fault(r".*/config.json", status=503, times=2))
        subprocess.run([...], env={**os.environ, **hub.environment(home)})
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LFS_ENDINGS = (".safetensors",)
TOKEN = "hf_loopback"
XET = b"xet:"


@dataclass
class Repo:
    """One repository: what every commit holds, and which commit each branch and tag points at.

    Attributes:
        private: Only requests with a token of the hub see that it exists.
        gated: Only requests with a token in ``granted`` get files.
        variables: Of a Space.
        hardware: That a Space asks for.
    """

    private: bool = False
    gated: bool = False
    granted: set[str] = field(default_factory=set)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    hardware: str = "cpu-basic"

    def commit(self, files: dict[str, bytes], branch: str = "main", title: str = "") -> str:
        """Make ``files`` the content of ``branch``; return the new commit's hash."""
        text = f"{len(self.commits)} {branch} {sorted(files)}"
        commit_hash = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit_hash] = dict(files)
        self.branches[branch] = commit_hash
        self.titles.append(title)
        return commit_hash

    def resolve(self, revision: str) -> str | None:
        """Return the commit of a branch, a tag or a commit's hash; None where there is none."""
        known = self.branches.get(revision) or self.tags.get(revision)
        return known or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.resolve(revision)]


@dataclass
class Fault:
    """What goes wrong with the next requests.

    Attributes:
        path: Pattern of the paths it concerns.
        method: And their method.
        times: Number of requests.
        status: Answer with this error instead.
        seconds: Answer so much later.
        keep: Send this share of the body, then cut the connection.
        corrupt: Invert the last byte of the body; the length stays.
    """

    path: str
    method: str = "GET"
    times: int = 1
    status: int | None = None
    seconds: float = 0.0
    keep: float | None = None
    corrupt: bool = False


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    token: str | None


class LoopbackHub:
    """The server.

    Attributes:
        requests: What it was asked.
        faults: What goes wrong, used up in order.
        before_commit: Is called once, with the repository, before the next commit is taken: someone else is faster.
        tokens: Those that it knows.
        xet_folder: Where clients with Xet store content; here, such a file is ``XET``, its sha256 and size.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}  # LFS objects by sha256
        self.verified: set[str] = set()
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.before_commit: Callable[[Repo], None] | None = None
        self.tokens = {TOKEN}
        self.xet_folder: Path | None = None
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.handlers: list[_Handler] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> LoopbackHub:
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """Go down, open connections included; harmless when it is down already."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        for handler in self.handlers:
            handler.cut()

    def create(self, repo_id: str, private: bool = False, gated: bool = False) -> Repo:
        """Add an empty repository with one commit, as the hub does."""
        repo = self.repos[repo_id] = Repo(private, gated)
        repo.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        return repo

    def blob(self, oid: str) -> bytes | None:
        """Return an LFS object that was uploaded, or is in a commit that was made here."""
        commits = [files for repo in self.repos.values() for files in repo.commits.values()]
        known = (content for files in commits for path, content in files.items() if _etag(path, content) == oid)
        return self.blobs.get(oid) or next(known, None)

    def xet_hashes(self) -> dict[str, str]:
        """Return sha256 → Xet hash, from the shard files that clients leave: records of 48 bytes behind a header."""

        def record(content: bytes, i: int) -> tuple[str, int, int]:
            words = struct.unpack_from("<4Q2I", content, 48 * i)
            return "".join(f"{word:016x}" for word in words[:4]), words[4], words[5]

        hashes = {}
        for shard in self.xet_folder.rglob("*.mdb"):
            content, i = shard.read_bytes(), 1
            while (file := record(content, i))[0] != "f" * 64:
                xet_hash, flags, num_entries = file
                i += 1 + num_entries * (2 if flags >> 31 else 1)  # segments, and their hashes
                if flags >> 30 & 1:
                    hashes[record(content, i)[0]] = xet_hash
                    i += 1
        return hashes

    def asked(self, method: str, pattern: str) -> list[Request]:
        """Return the requests of a method whose path matches."""
        return [asked for asked in self.requests if asked.method == method and re.fullmatch(pattern, asked.path)]

    def environment(self, home: Path) -> dict[str, str]:
        """Environment of a client process; the hub's client reads it when it is imported."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.hub.handlers.append(self)

    def cut(self) -> None:
        """Close the connection at once."""
        try:
            self.connection.shutdown(2)
        except OSError:
            pass  # closed already

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
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        self.token = token if scheme == "Bearer" else None
        path = unquote(url.path)
        with self.hub.lock:
            self.hub.requests.append(Request(method, path, self.headers.get("Range"), self.token))
            self.fault = self._next_fault(method, path)
        if self.fault:
            self.hub.stopping.wait(self.fault.seconds)
            if self.fault.status:
                return self._error(self.fault.status, None, "the loopback hub is out of order")
        route = re.sub(r"^/api/(spaces|datasets)/", r"/api/models/\1/", url.path)
        for allowed, pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, route)
            if match and method in allowed:
                return answer(self, **{name: unquote(value) for name, value in match.groupdict("").items()})
        self._error(404, None, f"no route for {method} {path}")

    def _next_fault(self, method: str, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.times > 0 and fault.method == method and re.fullmatch(fault.path, path):
                fault.times -= 1
                return fault
        return None

    # answers

    def _send(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 0xFF])
        if self.fault and self.fault.keep is not None:
            self.wfile.write(content[: int(len(content) * self.fault.keep)])
            self.wfile.flush()
            self.close_connection = True
            return self.cut()
        self.wfile.write(content)

    def _json(self, value, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        headers = {**(headers or {}), "X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._send(status, json.dumps({"error": message}).encode(), {"Content-Type": "application/json", **headers})

    def _find(self, repo_id: str, revision: str, write: bool = False) -> tuple[Repo, str] | None:
        repo = self.hub.repos.get(repo_id)
        is_known = self.token in self.hub.tokens
        if self.token is not None and not is_known:
            self._error(401, None, "Invalid credentials in Authorization header")
        elif write and not is_known:
            self._error(401, None, "Invalid username or password.")
        elif repo is None or (repo.private and not is_known):
            self._error(404 if is_known else 401, "RepoNotFound", "Repository not found")
        elif (commit := repo.resolve(revision)) is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repo, commit
        return None

    # routes

    def create_repo(self) -> None:
        if self.token not in self.hub.tokens:
            return self._error(401, None, "Invalid username or password.")
        asked = json.loads(self.body)
        repo_id = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        if asked.get("type") == "space":
            if asked.get("sdk") not in ("gradio", "docker", "static"):
                return self._error(400, None, "a Space needs an sdk")
            repo_id = f"spaces/{repo_id}"
        url = {"url": f"{self.hub.url}/{repo_id}"}
        with self.hub.lock:
            if repo_id in self.hub.repos:
                return self._json({**url, "error": "You already created this model repo"}, 409)
            self.hub.create(repo_id, private=asked.get("visibility") == "private" or bool(asked.get("private")))
        self._json(url)

    def create_branch(self, repo_id: str, revision: str) -> None:
        if found := self._find(repo_id, "main", write=True):
            repo, commit = found
            if revision in repo.branches:
                return self._error(409, None, "Reference already exists")
            repo.branches[revision] = commit
            self._json({})

    def create_tag(self, repo_id: str, revision: str) -> None:
        if found := self._find(repo_id, revision, write=True):
            repo, commit = found
            tag = json.loads(self.body)["tag"]
            if tag in repo.tags:
                return self._error(409, None, "Tag reference exists already")
            repo.tags[tag] = commit
            self._json({})

    def refs(self, repo_id: str) -> None:
        if found := self._find(repo_id, "main"):
            repo, _ = found
            pulls = {name: commit for name, commit in repo.branches.items() if name.startswith("refs/pr/")}
            heads = {name: commit for name, commit in repo.branches.items() if name not in pulls}
            kinds = {"branches": ("refs/heads/", heads), "tags": ("refs/tags/", repo.tags), "pullRequests": ("", pulls)}
            answer = {
                kind: [{"name": name, "ref": f"{start}{name}", "targetCommit": commit} for name, commit in refs.items()]
                for kind, (start, refs) in kinds.items()
            }
            self._json({**answer, "converts": []})

    def validate_yaml(self) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, repo_id: str, revision: str) -> None:
        if found := self._find(repo_id, revision, write=True):
            files = found[0].commits[found[1]]
            self._json({"files": [self._preupload(asked["path"], files) for asked in json.loads(self.body)["files"]]})

    def _preupload(self, path: str, files: dict[str, bytes]) -> dict:
        mode = "lfs" if path.endswith(LFS_ENDINGS) else "regular"
        known = {"oid": _etag(path, files[path])} if path in files else {}
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, **known}

    def lfs_batch(self, repo_id: str) -> None:
        if not self._find(repo_id, "main", write=True):
            return
        objects = []
        for asked in json.loads(self.body)["objects"]:
            links = {"upload": f"{self.hub.url}/lfs/{asked['oid']}", "verify": f"{self.hub.url}/verify"}
            actions = {"actions": {name: {"href": href} for name, href in links.items()}}
            objects.append({**asked, **({} if self.hub.blob(asked["oid"]) else actions)})
        self._json({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._error(400, None, "content does not match its hash")
        self.hub.blobs[oid] = self.body
        self._send(200)

    def lfs_verify(self) -> None:
        asked = json.loads(self.body)
        if len(self.hub.blobs.get(asked["oid"], b"")) != asked["size"]:
            return self._error(404, None, "there is no such object")
        self.hub.verified.add(asked["oid"])
        self._json({})

    def commit(self, repo_id: str, revision: str) -> None:
        with self.hub.lock:
            if not (found := self._find(repo_id, revision, write=True)):
                return
            repo, parent = found
            if before := self.hub.before_commit:
                self.hub.before_commit = None
                before(repo)
                parent = repo.resolve(revision)
            files, title = dict(repo.commits[parent]), ""
            for line in self.body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    title = value["summary"]
                    if value.get("parentCommit") not in (None, parent):
                        return self._error(412, None, "A commit has happened since. Please refresh and try again.")
                elif entry["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    files[value["path"]] = (
                        self.hub.blob(value["oid"]) or XET + f"{value['oid']}:{value['size']}".encode()
                    )
                elif entry["key"] == "deletedFile":
                    files.pop(value["path"])
            answer = {}
            if self.query.get("create_pr") == ["1"]:
                number = 1 + sum(name.startswith("refs/pr/") for name in repo.branches)
                revision = f"refs/pr/{number}"
                answer["pullRequestUrl"] = f"{self.hub.url}/{repo_id}/discussions/{number}"
            commit_hash = repo.commit(files, revision, title)
        url = f"{self.hub.url}/{repo_id}/commit/{commit_hash}"
        self._json({**answer, "commitUrl": url, "commitOid": commit_hash})

    def xet_token(self, repo_id: str, revision: str) -> None:
        if not self._find(repo_id, revision):
            return
        facts = {"casUrl": f"local://{self.hub.xet_folder}", "accessToken": "xet", "exp": int(time.time()) + 3600}
        names = {"X-Xet-Cas-Url": "casUrl", "X-Xet-Access-Token": "accessToken", "X-Xet-Token-Expiration": "exp"}
        headers = {"Content-Type": "application/json", **{name: str(facts[key]) for name, key in names.items()}}
        self._send(200, json.dumps(facts).encode(), headers)

    def info(self, repo_id: str, revision: str = "main") -> None:
        if found := self._find(repo_id, revision):
            repo, commit = found
            names = [{"rfilename": path} for path in repo.commits[commit]]
            name = "/".join(repo_id.split("/")[-2:])
            self._json({"id": name, "sha": commit, "private": repo.private, "siblings": names, "tags": []})

    def variables(self, repo_id: str) -> None:
        if found := self._find(repo_id, "main", write=True):
            if self.command == "POST":
                asked = json.loads(self.body)
                found[0].variables[asked["key"]] = asked["value"]
            self._json({key: {"key": key, "value": value} for key, value in found[0].variables.items()})

    def runtime(self, repo_id: str) -> None:
        if found := self._find(repo_id, "main", write=self.command == "POST"):
            if self.command == "POST":
                found[0].hardware = json.loads(self.body)["flavor"]
            self._json({"stage": "RUNNING", "hardware": {"current": "cpu-basic", "requested": found[0].hardware}})

    def tree(self, repo_id: str, revision: str, folder: str = "") -> None:
        if found := self._find(repo_id, revision):
            files, start = found[0].commits[found[1]], f"{folder}/" if folder else ""
            within = [path for path in files if path.startswith(start)]
            if folder and not within:
                return self._error(404, "EntryNotFound", f"{folder} does not exist")
            folders = {parent for path in within for parent in _folders(path) if len(parent) > len(start)}
            paths = within + sorted(folders)
            if self.query.get("recursive", ["false"])[0].lower() != "true":
                paths = [path for path in paths if "/" not in path.removeprefix(start)]
            self._json([_tree_entry(path, files.get(path)) for path in paths])

    def paths_info(self, repo_id: str, revision: str) -> None:
        if found := self._find(repo_id, revision):
            files, asked = found[0].commits[found[1]], parse_qs(self.body.decode())
            if self.headers.get("Content-Type") == "application/json":
                asked = json.loads(self.body)
            known = {*files, *(folder for path in files for folder in _folders(path))}
            self._json([_tree_entry(path, files.get(path)) for path in asked["paths"] if path in known])

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        if not (found := self._find(repo_id, revision)):
            return
        repo, commit = found
        if repo.gated and self.token not in repo.granted:
            text = f"Access to model {repo_id} is restricted."
            return self._error(401 if self.token is None else 403, "GatedRepo", text)
        commit_header = {"X-Repo-Commit": commit}
        content = repo.commits[commit].get(path)
        if content is None:
            return self._error(404, "EntryNotFound", "Entry not found", commit_header)
        headers = {**commit_header, "ETag": f'"{_etag(path, content)}"', "Accept-Ranges": "bytes"}
        if content.startswith(XET):
            route = f"{self.hub.url}/api/models/{repo_id}/xet-read-token/{commit}"
            headers["X-Xet-Hash"] = self.hub.xet_hashes()[_etag(path, content)]
            return self._send(
                200, b"", {**headers, "X-Xet-Refresh-Route": route, "X-Linked-Size": content.split(b":")[2].decode()}
            )
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and int(asked[1]) < len(content):
            start, size = int(asked[1]), len(content)
            stop = min(int(asked[2] or size - 1) + 1, size)
            place = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
            return self._send(206, content[start:stop], {**headers, **place})
        self._send(200, content, headers)


def _etag(path: str, content: bytes) -> str:
    """Return the sha256 of an LFS file, the git blob's sha1 of another."""
    if content.startswith(XET):
        return content.split(b":")[1].decode()
    if path.endswith(LFS_ENDINGS):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _folders(path: str) -> list[str]:
    """Return the folders a file lies in, outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _tree_entry(path: str, content: bytes | None) -> dict:
    """Describe a file, or without a content a folder."""
    if content is None:
        return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest()}
    entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path.endswith(LFS_ENDINGS):
        entry["lfs"] = {"oid": _etag(path, content), "size": len(content), "pointerSize": 134}
    return entry


_ID = r"(?P<repo_id>(?:(?:spaces|datasets)/)?[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"  # matched while it is still quoted: refs%2Fpr%2F1
_ROUTES = (
    ("POST", r"/api/repos/create", _Handler.create_repo),
    ("POST", r"/api/validate-yaml", _Handler.validate_yaml),
    ("POST", rf"/api/models/{_ID}/branch/{_REVISION}", _Handler.create_branch),
    ("POST", rf"/api/models/{_ID}/tag/{_REVISION}", _Handler.create_tag),
    ("GET", rf"/api/models/{_ID}/refs", _Handler.refs),
    ("POST", rf"/api/models/{_ID}/preupload/{_REVISION}", _Handler.preupload),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put),
    ("POST", r"/verify", _Handler.lfs_verify),
    ("POST", rf"/api/models/{_ID}/commit/{_REVISION}", _Handler.commit),
    (("GET", "POST"), rf"/api/models/{_ID}/variables", _Handler.variables),
    ("GET", rf"/api/models/{_ID}/runtime", _Handler.runtime),
    ("POST", rf"/api/models/{_ID}/hardware", _Handler.runtime),
    ("GET", rf"/api/models/{_ID}", _Handler.info),
    ("GET", rf"/api/models/{_ID}/revision/{_REVISION}", _Handler.info),
    ("GET", rf"/api/models/{_ID}/xet-(read|write)-token/{_REVISION}", _Handler.xet_token),
    ("GET", rf"/api/models/{_ID}/tree/{_REVISION}(?:/(?P<folder>.+))?", _Handler.tree),
    ("POST", rf"/api/models/{_ID}/paths-info/{_REVISION}", _Handler.paths_info),
    (("GET", "HEAD"), rf"/{_ID}/resolve/{_REVISION}/(?P<path>.+)", _Handler.resolve),
)
