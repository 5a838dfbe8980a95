"""The server: addresses, what each shows or does. Work itself is done by the runner's processes.

Tornado is there already, as a part of distributed: the app adds no dependency. Answers are pages made by Jinja, which
escapes what it is given, and small JSON; uploads are streamed to files and looked at elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from bige_opensim.app import pages
from bige_opensim.app.checker import Checker
from bige_opensim.app.job_process import JOB, PROGRESS
from bige_opensim.app.job_queue import Job, JobQueue, QueueFullError
from bige_opensim.app.places import NotHereError, PersonFolder, UserFolder, new_identity, read_json, safe_name
from bige_opensim.app.runner import LANES, Runner
from bige_opensim.app.security import (
    COOKIE,
    HEADERS,
    PAGE_POLICY,
    YEAR_S,
    Access,
    new_cookie,
    same_origin,
    scene_policy,
    user_of,
)
from bige_opensim.app.uploads import USUAL, UploadError, UploadLimits, accepted_name, check_beginning
from bige_opensim.built_in import SAMPLE_SESSION, built_in_objectives
from bige_opensim.io.whole_files import write_whole
from bige_opensim.viewer.script import script_source

LARGEST_REQUEST = 1_000_000
MOST_MOTIONS = 8
LOGIN_S = 1.0
LANE_OF = {kind: kinds for kinds in LANES.values() for kind in kinds}
FILES = {  # of a job: type, and what the browser saves it as; None for what it shows
    "view.html": ("text/html; charset=utf-8", None),
    "report.html": ("text/html; charset=utf-8", None),
    "bundle.zip": ("application/zip", "motions.zip"),
}
STATIC = {"app.css": "text/css", "app.js": "text/javascript"}
CHUNK = 1 << 18


@dataclass
class App:
    """What handlers share."""

    root: Path
    access: Access
    queue: JobQueue
    runner: Runner
    limits: UploadLimits = USUAL
    checker: Checker = field(default_factory=Checker)

    @property
    def users(self) -> Path:
        """Folder of all users."""
        return self.root / "users"

    def user(self, name: str) -> UserFolder:
        """Folder of one."""
        return UserFolder(self.users / name)

    def add_job(self, user: str, person: PersonFolder, kind: str, title: str, settings: dict[str, Any]) -> Job:
        """A job with its folder, which is there before anybody can take it up."""
        name = new_identity()
        folder = self.users / user / "jobs" / name
        folder.mkdir(parents=True)
        objective = settings.pop("toml", None)
        if objective is not None:
            write_whole(folder / "objective.toml", objective)
        settings = settings | {"person": person.identity}
        write_whole(folder / JOB, json.dumps({"kind": kind, "settings": settings}))
        try:
            return self.queue.add(name, user, person.identity, kind, title, settings)
        except QueueFullError:
            shutil.rmtree(folder)
            raise


class Page(RequestHandler):
    """Every answer: headers, who asks, and whether that is allowed."""

    app: App
    user: str

    def initialize(self, app: App) -> None:
        """Keep what is shared."""
        self.app = app

    def set_default_headers(self) -> None:
        """For errors too."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", PAGE_POLICY)

    async def prepare(self) -> None:
        """Refuse what comes from elsewhere; know the user, or make a new one."""
        headers = self.request.headers
        if not self.app.access.knows_host(self.request.host):
            raise HTTPError(421, reason="This server is not known by that name")
        if self.request.method not in ("GET", "HEAD", "POST"):
            raise HTTPError(405)
        if self.request.method == "POST" and not same_origin(
            self.request.host, headers.get("Origin"), headers.get("Sec-Fetch-Site")
        ):
            raise HTTPError(403, reason="The request comes from another page")
        self._know_user(headers.get("Sec-Fetch-Site"))

    def _know_user(self, fetch_site: str | None) -> None:
        user = user_of(self.get_cookie(COOKIE))
        if user is None and fetch_site == "cross-site" and self.request.method == "GET":
            # SameSite=Strict kept a cookie back that may well be there: come again from this site
            self.finish(pages.render("again.html.j2"))
            return
        if user is None:
            cookie = new_cookie()
            user = user_of(cookie)
            self.set_cookie(
                COOKIE, cookie, httponly=True, samesite="Strict", secure=self.app.access.https, path="/", max_age=YEAR_S
            )
        assert user is not None
        self.user = user
        if self.app.access.token is not None and not self.open and not self.app.queue.admitted(user):
            if self.request.method == "GET":
                self.redirect("/enter")
                return
            raise HTTPError(403, reason="Enter the token first")

    open = False
    """Whether those who have not said the token may ask."""

    def show(self, template: str, **content: Any) -> None:
        """Answer with a page."""
        self.finish(pages.render(template, **content))

    def tell(self, content: dict[str, Any], status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(content))

    def asked(self) -> dict[str, Any]:
        """The JSON table that came with the request."""
        try:
            content = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise HTTPError(400, reason="A JSON table was expected")
        return content

    @property
    def mine(self) -> UserFolder:
        """The user's folder."""
        return self.app.user(self.user)

    def job(self, name: str) -> Job:
        """One of the user's jobs."""
        job = self.app.queue.job(name)
        if job is None or job.user != self.user:
            raise NotHereError(name)
        return job

    def write_error(self, status_code: int, **what: Any) -> None:
        """A sentence, and nothing of the program."""
        error = what.get("exc_info", (None, None, None))[1]
        if isinstance(error, NotHereError):
            status_code = 404
        elif isinstance(error, QueueFullError | UploadError):
            status_code = 400
        self.set_status(status_code)
        said = str(error) if isinstance(error, QueueFullError | UploadError) else pages.sentence(status_code)
        if self.request.method == "POST":
            self.tell({"error": said}, status_code)
        else:
            self.show("error.html.j2", said=said)

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """What users did wrong is no fault of the program."""
        if not isinstance(error, NotHereError | QueueFullError | UploadError):
            super().log_exception(kind, error, trace)

    async def send_file(self, path: Path, kind: str, name: str | None, policy: str | None = None) -> None:
        """A file of the work folder, piece by piece."""
        if not path.is_file():
            raise NotHereError(path.name)
        self.set_header("Content-Type", kind)
        self.set_header("Content-Length", str(path.stat().st_size))
        if policy is not None:
            self.set_header("Content-Security-Policy", policy)
        if name is not None:
            self.set_header("Content-Disposition", f'attachment; filename="{safe_name(name)}"')
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                self.write(piece)
                try:
                    await self.flush()
                except StreamClosedError:
                    return


class Home(Page):
    """Everybody the user has uploaded."""

    def get(self) -> None:
        """Show them."""
        people = [(person, pages.standing(person, self.app.queue.jobs(self.user, person.identity)))
                  for person in self.mine.people]  # fmt: skip
        self.show("home.html.j2", people=people, limits=self.app.limits)


class Enter(Page):
    """Where the token is asked for."""

    open = True

    def get(self) -> None:
        """Ask."""
        self.show("enter.html.j2", wrong=False)

    async def post(self) -> None:
        """Let in who knows it."""
        if self.app.access.is_token(self.get_body_argument("token", "")):
            self.app.queue.admit(self.user)
            self.redirect("/")
            return
        await asyncio.sleep(LOGIN_S)
        self.set_status(403)
        self.show("enter.html.j2", wrong=True)


class People(Page):
    """A new person: from files that follow, or the sample."""

    def post(self) -> None:
        """Make a folder."""
        asked = self.asked()
        if asked.get("sample") is True:
            person = self.mine.new_person("Sample person")
            shutil.copyfile(SAMPLE_SESSION, person.uploads / "sample.zip")
            self.app.add_job(self.user, person, "examine", "Look at the files", {})
        else:
            person = self.mine.new_person(str(asked.get("name") or "Person"))
        self.tell({"person": person.identity})


@stream_request_body
class Upload(Page):
    """One file of a person, as the body of a request."""

    async def prepare(self) -> None:
        """Refuse what is too large before it comes."""
        await super().prepare()
        if self._finished:
            return
        limits = self.app.limits
        self.request.connection.set_max_body_size(limits.file_bytes + CHUNK)  # type: ignore[union-attr]
        self.person = self.mine.person(str(self.path_args[0]))
        self.name = accepted_name(unquote(self.get_query_argument("name", "")))
        length = self.request.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > limits.file_bytes:
            raise UploadError(f"A file of up to {limits.file_bytes // 10**6} MB is taken.")
        if self.mine.size() + int(length) > limits.user_bytes:
            raise UploadError("Your space is full. Delete a person whom you no longer need.")
        if len(list(self.person.uploads.iterdir())) >= limits.files:
            raise UploadError("There are too many files.")
        self.part = self.person.uploads / f".{secrets.token_hex(8)}.part"
        self.file = self.part.open("xb")

    def data_received(self, chunk: bytes) -> None:
        """Keep a piece."""
        self.file.write(chunk)

    def post(self, person: str) -> None:
        """Put the file in place, if it is what it says."""
        self.file.close()
        place = self.part.with_name(self.name)
        checked = self.part.with_suffix(place.suffix.lower())
        self.part.replace(checked)
        try:
            check_beginning(checked)
        except UploadError as error:
            checked.unlink()
            raise UploadError(str(error).replace(checked.name, self.name)) from error
        checked.replace(place)
        self.tell({"name": self.name})

    def on_finish(self) -> None:
        """Leave nothing of what did not come whole."""
        self._tidy()

    def on_connection_close(self) -> None:
        """As at the end."""
        self._tidy()

    def _tidy(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
            self.part.unlink(missing_ok=True)


class Person(Page):
    """One person: findings, recordings, what was asked for."""

    def get(self, person: str) -> None:
        """Show it."""
        found = self.mine.person(person)
        self.show(
            "person.html.j2", **pages.person_content(self.app.users, found, self.app.queue.jobs(self.user, person))
        )


class Start(Page):
    """Work on a person that needs no settings."""

    def post(self, person: str, kind: str) -> None:
        """Put it in the queue."""
        found = self.mine.person(person)
        title = {"examine": "Look at the files", "label": "Label the recordings"}[kind]
        running = [j for j in self.app.queue.jobs(self.user, person) if j.kind == kind and not j.over]
        job = running[0] if running else self.app.add_job(self.user, found, kind, title, {})
        self.tell({"job": job.name, "person": person})


class Delete(Page):
    """A person and all that was made of it."""

    def post(self, person: str) -> None:
        """End its jobs, remove its folders."""
        found = self.mine.person(person)
        for job in self.app.queue.jobs(self.user, person):
            if not job.over:
                self.app.runner.cancel(job)
            shutil.rmtree(self.app.runner.folder(job), ignore_errors=True)
        shutil.rmtree(found.path)
        self.tell({})


class Recording(Page):
    """One recording: curves and three dimensions."""

    def get(self, person: str, number: str) -> None:
        """Show it."""
        found = self.mine.person(person)
        self.show("recording.html.j2", **pages.recording_content(
            self.app.users, found, int(number), self.app.queue.jobs(self.user, person)))  # fmt: skip


class RecordingView(Page):
    """The scene of a recording, in a frame of its own."""

    async def get(self, person: str, number: str) -> None:
        """Send it."""
        path = pages.recording_folder(self.mine.person(person), int(number)) / "view.html"
        await self.send_file(path, FILES["view.html"][0], None, scene_policy(script_source()))


class Ask(Page):
    """What is asked of motions: an objective of the library, changed by pickers and sliders, or as text."""

    def get(self, person: str) -> None:
        """Show it."""
        found = self.mine.person(person)
        self.show("ask.html.j2", **pages.ask_content(found))

    async def post(self, person: str) -> None:
        """Start the search, if the objective holds."""
        found, asked = self.mine.person(person), self.asked()
        content = found.content
        if content is None:
            raise NotHereError(person)
        check = await self.app.checker.check(asked, found.sessions / content["model"])
        if not check["ok"]:
            self.tell({"error": check["error"], "key": check["key"]}, 400)
            return
        settings: dict[str, Any] = {"toml": check["toml"]}
        kind = "edit" if asked.get("kind") == "edit" else "search"
        if kind == "edit":
            settings["trial"] = _whole(asked.get("trial"), 0, len(content["trials"]) - 1)
        else:
            settings |= {"count": _whole(asked.get("count"), 1, MOST_MOTIONS), "seed": secrets.randbelow(2**31)}
        job = self.app.add_job(self.user, found, kind, str(check["content"]["name"])[:120], settings)
        self.tell({"job": job.name})


class Check(Page):
    """Whether an objective holds, while it is being written."""

    async def post(self, person: str) -> None:
        """Say it."""
        found = self.mine.person(person)
        content = found.content
        if content is None:
            raise NotHereError(person)
        self.tell(await self.app.checker.check(self.asked(), found.sessions / content["model"]))


class Library(Page):
    """An objective that comes with the package, as text."""

    def get(self, name: str) -> None:
        """Send it."""
        known = built_in_objectives()
        if name not in known:
            raise NotHereError(name)
        self.tell({"toml": known[name].read_text(encoding="utf-8")})


class JobPage(Page):
    """How far a job is, and what came of it."""

    def get(self, name: str) -> None:
        """Show it."""
        job = self.job(name)
        person = self.mine.person(job.person)
        self.show("job.html.j2", **pages.job_content(self.app.runner.folder(job), job, person))


class JobState(Page):
    """The same in short, for a page that waits."""

    def get(self, name: str) -> None:
        """Send it."""
        job = self.job(name)
        before = self.app.queue.before(job, LANE_OF[job.kind]) if job.state == "waiting" else 0
        progress = read_json(self.app.runner.folder(job) / PROGRESS) or {} if job.state == "running" else {}
        self.tell({"state": job.state, "message": job.message, "before": before, "progress": progress})


class Cancel(Page):
    """End a job."""

    def post(self, name: str) -> None:
        """Now."""
        self.app.runner.cancel(self.job(name))
        self.tell({"state": "cancelled"})


class JobFile(Page):
    """What a job made: scene, report, bundle."""

    async def get(self, name: str, file: str) -> None:
        """Send it."""
        kind, saved_as = FILES[file]
        policy = scene_policy(script_source()) if kind.startswith("text/html") else None
        if self.get_query_argument("save", "") and saved_as is None:
            saved_as = file
        await self.send_file(self.app.runner.folder(self.job(name)) / file, kind, saved_as, policy)


class Static(Page):
    """The app's own style and script."""

    open = True

    def get(self, name: str) -> None:
        """Send it."""
        self.set_header("Content-Type", f"{STATIC[name]}; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self.finish((resources.files("bige_opensim.app") / "static" / name).read_bytes())


class Nothing(Page):
    """Every other address."""

    open = True

    def get(self) -> None:
        """Say so."""
        raise NotHereError(self.request.path)

    post = get


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise HTTPError(400, reason=f"A whole number from {low} to {high} was expected")
    return value


def application(app: App) -> Application:
    """The addresses."""
    one = r"([0-9a-f]{16})"
    number = r"(0|[1-9][0-9]{0,3})"
    files = "|".join(re.escape(name) for name in FILES)
    routes: list[tuple[str, type[Page]]] = [
        (r"/", Home),
        (r"/enter", Enter),
        (r"/people", People),
        (rf"/people/{one}", Person),
        (rf"/people/{one}/files", Upload),
        (rf"/people/{one}/(examine|label)", Start),
        (rf"/people/{one}/delete", Delete),
        (rf"/people/{one}/ask", Ask),
        (rf"/people/{one}/check", Check),
        (rf"/people/{one}/recordings/{number}", Recording),
        (rf"/people/{one}/recordings/{number}/view", RecordingView),
        (r"/objectives/([a-z0-9_]{1,60})", Library),
        (rf"/jobs/{one}", JobPage),
        (rf"/jobs/{one}/state", JobState),
        (rf"/jobs/{one}/cancel", Cancel),
        (rf"/jobs/{one}/({files})", JobFile),
        (r"/static/(app\.css|app\.js)", Static),
    ]
    handlers: Any = [(pattern, handler, {"app": app}) for pattern, handler in routes]
    return Application(handlers, default_handler_class=Nothing, default_handler_args={"app": app}, log_function=_quiet)


def _quiet(handler: RequestHandler) -> None:
    """Addresses hold names of people's folders: nothing is logged of requests."""


def open_app(root: Path, access: Access, limits: UploadLimits = USUAL) -> App:
    """The work folder, made where it is not there, for this user of the machine alone."""
    (root / "users").mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)
    queue = JobQueue(root / "app.sqlite")
    return App(root, access, queue, Runner(queue, root / "users"), limits)


async def serve(app: App, port: int, ready: Any, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; `ready` is called with the port."""
    sockets = bind_sockets(port, app.access.host)
    server = HTTPServer(application(app), max_body_size=LARGEST_REQUEST, idle_connection_timeout=120)
    server.add_sockets(sockets)
    app.runner.start()
    try:
        ready(sockets[0].getsockname()[1])
        await stop.wait()
    finally:
        server.stop()
        await asyncio.get_running_loop().run_in_executor(None, app.runner.stop)
        await server.close_all_connections()
        app.checker.close()
        app.queue.close()
