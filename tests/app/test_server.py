"""What the server answers, to users, to strangers, and to pages of elsewhere."""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from test_job_queue import make_app
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.testing import bind_unused_port

from bige_opensim.app.security import Access, AccessError, new_cookie, same_origin, user_of
from bige_opensim.app.server import LARGEST_REQUEST, App, application
from bige_opensim.app.uploads import USUAL, UploadLimits
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.objective_text import objective_text

TOKEN = "a long enough secret"
ALONE = Access()


class StandInChecker:
    """Reads objectives as the real one does, without a model."""

    async def check(self, asked: dict[str, Any], model: Path) -> dict[str, Any]:
        import tomllib

        try:
            content = asked["content"] if "content" in asked else tomllib.loads(asked["toml"])
            text = objective_text(Objective.from_dict(content))
        except (ObjectiveError, tomllib.TOMLDecodeError) as error:
            return {"ok": False, "error": str(error), "key": ""}
        terms = tomllib.loads(text)["term"]
        words = [{"name": t["name"], "measures": t["quantity"], "asks": "so", "required": True} for t in terms]
        return {"ok": True, "toml": text, "content": tomllib.loads(text), "words": words}

    def close(self) -> None:
        pass


class Browser:
    """Asks a server, and keeps its cookie as a browser does."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie = port, ""

    async def ask(self, path: str, body: Any = None, **headers: str) -> HTTPResponse:
        sent = HTTPHeaders({"Host": f"127.0.0.1:{self.port}"})
        if body is not None:
            sent["Origin"] = f"http://127.0.0.1:{self.port}"
        for name, value in headers.items():
            sent[name.replace("_", "-")] = value
        if self.cookie:
            sent["Cookie"] = self.cookie
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        answer = await AsyncHTTPClient().fetch(
            f"http://127.0.0.1:{self.port}{path}", method="GET" if body is None else "POST", body=content, headers=sent,
            raise_error=False, follow_redirects=False,
        )  # fmt: skip
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        return answer

    async def new_person(self, name: str = "One", *files: tuple[str, bytes]) -> str:
        person = json.loads((await self.ask("/people", {"name": name})).body)["person"]
        for file, content in files:
            answer = await self.ask(f"/people/{person}/files?name={file}", content)
            assert answer.code == 200, answer.body
        return str(person)

    async def done(self, job: str) -> dict[str, Any]:
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline:
            state: dict[str, Any] = json.loads((await self.ask(f"/jobs/{job}/state")).body)
            if state["state"] not in ("waiting", "running"):
                return state
            await asyncio.sleep(0.05)
        raise AssertionError("the job did not end")


def served(work: Any, access: Access = ALONE, limits: UploadLimits = USUAL, *, running: bool = False) -> None:
    """Run `work(browser, app)` against a server of its own."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as root:
            app = make_app(Path(root))
            app.access, app.limits, app.checker = access, limits, StandInChecker()  # type: ignore[assignment]
            socket, port = bind_unused_port()
            server = HTTPServer(application(app), max_body_size=LARGEST_REQUEST)
            server.add_sockets([socket])
            if running:
                app.runner.start()
            try:
                made: Coroutine[Any, Any, None] = work(Browser(port), app)
                await made
            finally:
                server.stop()
                await server.close_all_connections()
                await asyncio.get_running_loop().run_in_executor(None, app.runner.stop)
                app.queue.close()

    asyncio.run(run())


def test_every_answer_carries_the_headers_that_a_browser_needs():
    async def work(browser: Browser, app: App) -> None:
        for path in ("/", "/nowhere", "/static/app.js", "/people/0123456789abcdef", "/objectives/deep_squat"):
            headers = (await browser.ask(path)).headers
            policy = headers["Content-Security-Policy"]
            assert "script-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
            assert "Server" not in headers

    served(work)


def test_pages_have_no_script_or_style_inside():
    async def work(browser: Browser, app: App) -> None:
        person = await full_person(browser)
        for path in ("/", f"/people/{person}", f"/people/{person}/ask", f"/people/{person}/recordings/0"):
            page = (await browser.ask(path)).body.decode()
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
            assert set(re.findall(r"<script[^>]*>", page)) <= {
                '<script src="/static/app.js" defer>', '<script type="application/json" id="choices">'
            }  # fmt: skip
            assert not re.search(r"(src|href)=\"https?:", page)

    served(work, running=True)


async def full_person(browser: Browser) -> str:
    person = await browser.new_person("One", ("m.osim", b"<x/>"), ("squats1.mot", b"nRows=1\n"))
    for kind in ("examine", "label"):
        job = json.loads((await browser.ask(f"/people/{person}/{kind}", {})).body)["job"]
        assert (await browser.done(job))["state"] == "done"
    return person


def test_the_cookie_is_for_this_server_alone():
    async def work(browser: Browser, app: App) -> None:
        sent = (await browser.ask("/")).headers["Set-Cookie"]
        assert "HttpOnly" in sent
        assert "SameSite=Strict" in sent
        assert "Secure" not in sent
        assert "Set-Cookie" not in (await browser.ask("/")).headers

    served(work)

    async def by_https(browser: Browser, app: App) -> None:
        assert "Secure" in (await browser.ask("/")).headers["Set-Cookie"]

    served(by_https, Access(https=True))


def test_a_link_from_elsewhere_does_not_cost_a_user_the_cookie():
    async def work(browser: Browser, app: App) -> None:
        answer = await browser.ask("/", Sec_Fetch_Site="cross-site")
        assert "Set-Cookie" not in answer.headers
        assert b'http-equiv="refresh"' in answer.body

    served(work)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "192.168.0.9", ""])
def test_a_name_that_another_page_made_point_here_is_refused(host: str):
    async def work(browser: Browser, app: App) -> None:
        assert (await browser.ask("/", Host=host or "x")).code == 421

    served(work)


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": ""}]
)
def test_what_changes_something_must_come_from_a_page_of_this_server(headers: dict[str, str]):
    async def work(browser: Browser, app: App) -> None:
        assert (await browser.ask("/people", {"name": "One"}, **headers)).code == 403
        assert not list(app.users.iterdir())

    served(work)


def test_origins_are_told_apart():
    assert same_origin("127.0.0.1:80", "http://127.0.0.1:80", None)
    assert same_origin("lab.example", "https://lab.example", None)
    assert same_origin("lab.example", None, "same-origin")
    assert not same_origin("lab.example", None, None)
    assert not same_origin("lab.example", None, "cross-site")
    assert not same_origin("lab.example", "https://lab.example.evil", "same-origin")


def test_users_are_apart_from_each_other():
    async def work(browser: Browser, app: App) -> None:
        person = await full_person(browser)
        job = app.queue.jobs(user_of(browser.cookie.partition("=")[2]) or "")[0].name
        stranger = Browser(browser.port)
        await stranger.ask("/")
        mine, job = f"/people/{person}", f"/jobs/{job}"
        shown = (mine, f"{mine}/ask", f"{mine}/recordings/0", f"{mine}/recordings/0/view")
        for path in (*shown, job, f"{job}/state", f"{job}/bundle.zip"):
            assert (await browser.ask(path)).code == 200, path
            assert (await stranger.ask(path)).code == 404, path
        for what in ("label", "delete", "ask", "check", "files?name=a.mot"):
            assert (await stranger.ask(f"{mine}/{what}", {"toml": ""})).code == 404, what
        assert (await stranger.ask(f"{job}/cancel", {})).code == 404
        assert b"One" not in (await stranger.ask("/")).body
        assert (await browser.ask(f"/people/{person}/delete", {})).code == 200
        assert (await browser.ask(f"/people/{person}")).code == 404

    served(work, running=True)


@pytest.mark.parametrize(
    "path",
    ["/people/..%2f..%2fx", "/people/../../etc/passwd", "/jobs/0123456789abcdef/..%2fjob.json",
     "/static/..%2fserver.py",
     "/people/0123456789abcdef/recordings/99999", "/objectives/..", "/jobs/0123456789ABCDEF"],
)  # fmt: skip
def test_no_address_leads_out_of_the_work_folder(path: str):
    async def work(browser: Browser, app: App) -> None:
        assert (await browser.ask(path)).code == 404

    served(work)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("a.pkl", b"\x80\x04", "not taken"), ("a.zip", b"\x80\x04K\x01.", "no zip archive"),
     ("..%2f..%2fa.py", b"x", "not taken"), ("a.mot", b"a\0b", "no text"), ("a.mot", b"", "empty"),
     ("a.mot", b"x" * 2001, "up to 0 MB")],
)  # fmt: skip
def test_hostile_files_are_refused_and_leave_nothing(name: str, content: bytes, said: str):
    async def work(browser: Browser, app: App) -> None:
        person = await browser.new_person()
        answer = await browser.ask(f"/people/{person}/files?name={name}", content)
        assert answer.code == 400
        assert said in json.loads(answer.body)["error"]
        assert [p.name for p in app.users.rglob("*") if p.is_file()] == ["person.json"]

    served(work, limits=UploadLimits(file_bytes=2000))


def test_a_full_space_is_said():
    async def work(browser: Browser, app: App) -> None:
        person = await browser.new_person("One", ("a.mot", b"x" * 900))
        answer = await browser.ask(f"/people/{person}/files?name=b.mot", b"x" * 900)
        assert "space is full" in json.loads(answer.body)["error"]

    served(work, limits=UploadLimits(user_bytes=1500))


def test_markup_in_names_findings_and_objectives_is_shown_as_text():
    async def work(browser: Browser, app: App) -> None:
        bad = "<script>alert(1)</script>"
        person = await browser.new_person(bad, ("a.mot", b"text"))
        job = json.loads((await browser.ask(f"/people/{person}/examine", {})).body)["job"]
        await browser.done(job)
        term = '[[term]]\nname = "</script><img src=x>"\nquantity = "depth"\nstat = "peak"\nat_least = 0.3\n'
        toml = f'name = "{bad}"\n{term}'
        asked = await browser.ask(f"/people/{person}/ask", {"toml": toml, "count": 2})
        job = json.loads(asked.body)["job"]
        await browser.done(job)
        for path in ("/", f"/people/{person}", f"/people/{person}/ask", f"/jobs/{job}"):
            page = (await browser.ask(path)).body.decode()
            assert "alert(1)" not in page.replace("&lt;script&gt;alert(1)&lt;/script&gt;", ""), path
            assert "<img" not in page
            assert "<i>depth" not in page

    served(work, running=True)


def test_a_search_is_asked_for_only_when_its_objective_holds():
    async def work(browser: Browser, app: App) -> None:
        person = await browser.new_person("One", ("a.mot", b"text"))
        assert (await browser.ask(f"/people/{person}/ask", {"toml": "", "count": 2})).code == 404
        job = json.loads((await browser.ask(f"/people/{person}/examine", {})).body)["job"]
        await browser.done(job)
        toml = '[[term]]\nquantity = "depht"\nstat = "peak"\nat_least = 0.3\n'
        answer = await browser.ask(f"/people/{person}/ask", {"toml": toml, "count": 2})
        assert answer.code == 400
        assert "did you mean 'depth'?" in json.loads(answer.body)["error"]
        good = {"toml": toml.replace("depht", "depth")}
        for count in (0, 99, "2", None, 2.5, True):
            assert (await browser.ask(f"/people/{person}/ask", good | {"count": count})).code == 400
        assert (await browser.ask(f"/people/{person}/ask", b"[1, 2")).code == 400
        assert (await browser.ask(f"/people/{person}/ask", b"[" * 50_000)).code == 400
        assert (await browser.ask(f"/people/{person}/ask", good | {"count": 2})).code == 200
        edit = good | {"kind": "edit", "trial": 0}
        assert (await browser.ask(f"/people/{person}/ask", edit | {"trial": 1})).code == 400
        assert (await browser.ask(f"/people/{person}/ask", edit)).code == 200

    served(work, running=True)


def test_scenes_and_reports_have_no_origin_and_one_known_script():
    async def work(browser: Browser, app: App) -> None:
        person = await full_person(browser)
        policy = (await browser.ask(f"/people/{person}/recordings/0/view")).headers["Content-Security-Policy"]
        assert policy.startswith("sandbox allow-scripts; default-src 'none'; script-src 'sha256-")
        assert "allow-same-origin" not in policy
        assert "frame-ancestors 'self'" in policy

    served(work, running=True)


def test_beyond_this_machine_nobody_comes_in_without_the_token():
    async def work(browser: Browser, app: App) -> None:
        assert (await browser.ask("/")).headers["Location"] == "/enter"
        assert (await browser.ask("/people", {"name": "One"})).code == 403
        wrong = await browser.ask("/enter", b"token=guess")
        assert wrong.code == 403
        assert b"not the token" in wrong.body
        right = await browser.ask("/enter", b"token=" + TOKEN.replace(" ", "+").encode())
        assert (right.code, right.headers["Location"]) == (302, "/")
        assert (await browser.ask("/")).code == 200
        assert (await Browser(browser.port).ask("/")).code == 302

    served(work, Access("0.0.0.0", TOKEN))


def test_a_server_for_others_needs_a_token_that_nobody_guesses():
    for host in ("0.0.0.0", "192.168.1.4", "::", "lab.example"):
        with pytest.raises(AccessError, match="--token"):
            Access(host)
    with pytest.raises(AccessError, match="4 characters"):
        Access(token="abcd")
    assert Access().loopback
    assert Access("::1").loopback


def test_hosts_are_known_by_address_or_by_the_names_that_were_given():
    near, far = Access(), Access("0.0.0.0", TOKEN, ("lab.example",))
    for host in ("127.0.0.1:80", "localhost:8080", "[::1]:80"):
        assert near.knows_host(host)
        assert far.knows_host(host)
    for host in ("10.0.0.3:80", "lab.example", "LAB.example:8443"):
        assert not near.knows_host(host)
        assert far.knows_host(host)
    assert not far.knows_host("evil.example")


def test_cookies_of_no_user_are_told():
    cookie = new_cookie()
    assert user_of(cookie) == user_of(cookie) != user_of(new_cookie())
    assert all(user_of(bad) is None for bad in (None, "", "x", cookie + "x", "../" * 14 + "x", cookie[:-1] + "/"))
