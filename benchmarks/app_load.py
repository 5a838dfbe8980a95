"""The app under load: users who look at results while searches are in the queue.

    python benchmarks/app_load.py --users 20 --minutes 10 --work bige_work

Copies a user of a work folder in which a search has finished, 20 times, serves the copy, has two of them search, and
lets all of them go from page to page, a page every second or so. Prints the seconds to answer (median, 95 of 100,
longest), errors, and the memory of the server without its jobs, over time. With `--mutated N`, a further user sends N
damaged archives and models meanwhile. Without `--work`, the sample person is labelled and searched first, which takes
some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httputil import HTTPHeaders

from bige_opensim.app.job_queue import JobQueue
from bige_opensim.app.places import new_identity
from bige_opensim.app.security import COOKIE, new_cookie, user_of
from bige_opensim.workflows.sample import SAMPLE_SESSION

THINK_S = (0.5, 1.5)
SEARCHES = 2
EVERY_S = 5.0


class Visitor:
    """One user: a cookie, and answers timed."""

    def __init__(self, url: str, cookie: str, seconds: dict[str, list[float]], codes: Counter[int]) -> None:
        self.url, self.cookie, self.seconds, self.codes = url, cookie, seconds, codes

    async def ask(self, path: str, what: str = "", body: bytes | None = None) -> HTTPResponse:
        """One request."""
        headers = HTTPHeaders({"Cookie": f"{COOKIE}={self.cookie}"})
        if body is not None:
            headers["Origin"] = self.url.rstrip("/")
        began = time.perf_counter()
        answer = await AsyncHTTPClient().fetch(
            self.url.rstrip("/") + path, method="GET" if body is None else "POST", body=body, headers=headers,
            raise_error=False, request_timeout=120.0,
        )  # fmt: skip
        self.codes[answer.code] += 1
        if what:
            self.seconds.setdefault(what, []).append(time.perf_counter() - began)
        return answer


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server of a work folder, and its address."""
    command = [sys.executable, "-m", "bige_opensim.cli", "serve", "--folder", str(folder), "--port", "0", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return process, process.stdout.readline().decode().split(": the app")[0]


async def sample_work(folder: Path) -> None:
    """A finished search of the sample person."""
    process, url = serve(folder)
    user = Visitor(url, new_cookie(), {}, Counter())

    async def done(answer: HTTPResponse) -> None:
        job = json.loads(answer.body)["job"]
        while json.loads((await user.ask(f"/jobs/{job}/state")).body)["state"] in ("waiting", "running"):
            await asyncio.sleep(1.0)

    try:
        person = json.loads((await user.ask("/people", body=b'{"sample": true}')).body)["person"]
        await done(await user.ask(f"/people/{person}/examine", body=b""))
        await done(await user.ask(f"/people/{person}/label", body=b""))
        toml = json.loads((await user.ask("/objectives/deep_squat")).body)["toml"]
        asked = json.dumps({"toml": toml, "count": 2}).encode()
        await done(await user.ask(f"/people/{person}/ask", body=asked))
    finally:
        process.terminate()
        process.wait()


def copies(work: Path, root: Path, users: int) -> list[tuple[str, str, str]]:
    """Cookie, person and job of users who are copies of the one whose search has finished."""
    old = JobQueue(work / "app.sqlite")
    template = next(
        (found for user in (work / "users").iterdir() for job in old.jobs(user.name)
         if job.state == "done" and job.kind == "search" for found in [(user.name, job.person)]), None,
    )  # fmt: skip
    if template is None:
        raise SystemExit(f"app_load: no finished search in {work}; leave --work out to have one made.")
    name, person = template
    jobs = [job for job in reversed(old.jobs(name, person)) if job.state == "done"]
    old.close()
    queue = JobQueue(root / "app.sqlite")
    made = []
    for _ in range(users):
        cookie = new_cookie()
        user = root / "users" / (user_of(cookie) or "")
        shutil.copytree(work / "users" / name / "people" / person, user / "people" / person)
        for job in jobs:
            copy = new_identity()
            shutil.copytree(work / "users" / name / "jobs" / job.name, user / "jobs" / copy)
            queue.add(copy, user.name, person, job.kind, job.title, job.settings)
            queue.end(copy, "done", job.message)
        made.append((cookie, person, copy))
    queue.close()
    return made


async def visit(visitor: Visitor, person: str, job: str, until: float) -> None:
    """From page to page."""
    pages = {
        "home": "/", "person": f"/people/{person}", "recording": f"/people/{person}/recordings/0",
        "scene of a recording": f"/people/{person}/recordings/0/view", "results": f"/jobs/{job}",
        "scene of results": f"/jobs/{job}/view.html", "report": f"/jobs/{job}/report.html",
        "state": f"/jobs/{job}/state", "bundle": f"/jobs/{job}/bundle.zip",
    }  # fmt: skip
    await asyncio.sleep(random.uniform(0.0, THINK_S[1]))
    for what, path in itertools.cycle(pages.items()):
        if time.monotonic() > until:
            return
        await visitor.ask(path, what)
        await asyncio.sleep(random.uniform(*THINK_S))


async def send_damaged(visitor: Visitor, count: int) -> Counter[str]:
    """Damaged archives, models and motions, of which some are examined; what became of them."""
    became, draw = Counter[str](), random.Random(15)
    archive = SAMPLE_SESSION.read_bytes()
    for i in range(count):
        data = bytearray(archive)
        for _ in range(draw.randint(1, 20)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        data = data[: draw.choice([len(data), draw.randrange(len(data))])]
        name = draw.choice(["a.zip", "a.zip", "a.osim", "a.mot", "../../a.zip", "a.pkl"])
        if name == "a.osim":
            data = bytearray(b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>") + data[:100]
        person = json.loads((await visitor.ask("/people", body=b'{"name": "damaged"}')).body)["person"]
        answer = await visitor.ask(f"/people/{person}/files?name={name}", "upload", bytes(data))
        became["taken" if answer.code == 200 else f"refused ({answer.code})"] += 1
        if answer.code == 200 and i % 50 == 0:
            job = json.loads((await visitor.ask(f"/people/{person}/examine", body=b"")).body)["job"]
            while True:
                state = json.loads((await visitor.ask(f"/jobs/{job}/state")).body)["state"]
                if state not in ("waiting", "running"):
                    break
                await asyncio.sleep(0.5)
            became[f"examined: {state}"] += 1
        await visitor.ask(f"/people/{person}/delete", body=b"")
    return became


async def watched(process: psutil.Process, until: float) -> list[tuple[float, float]]:
    """Minutes and resident MB of the server itself."""
    began, found = time.monotonic(), []
    while time.monotonic() < until:
        found.append(((time.monotonic() - began) / 60.0, process.memory_info().rss / 1e6))
        await asyncio.sleep(EVERY_S)
    return found


async def measure(work: Path, users: int, minutes: float, mutated: int) -> dict[str, Any]:
    """All of it, on a copy of a work folder."""
    AsyncHTTPClient.configure(None, max_clients=4 * users, max_body_size=10**9)
    seconds: dict[str, list[float]] = {}
    codes: Counter[int] = Counter()
    with tempfile.TemporaryDirectory(prefix="bige-load-") as scratch:
        made = copies(work, Path(scratch), users)
        process, url = serve(Path(scratch))
        try:
            visitors = [Visitor(url, cookie, seconds, codes) for cookie, _, _ in made]
            toml = json.loads((await visitors[0].ask("/objectives/deep_squat")).body)["toml"]
            for visitor, (_, person, _) in list(zip(visitors, made, strict=True))[:SEARCHES]:
                await visitor.ask(f"/people/{person}/ask", body=json.dumps({"toml": toml, "count": 4}).encode())
            until = time.monotonic() + 60.0 * minutes
            visits = [visit(v, person, job, until) for v, (_, person, job) in zip(visitors, made, strict=True)]
            memory = asyncio.create_task(watched(psutil.Process(process.pid), until))
            stranger = Visitor(url, new_cookie(), {}, Counter())
            damaged = asyncio.create_task(send_damaged(stranger, mutated))
            await asyncio.gather(*visits)
            found = await memory
            return {"seconds": seconds, "codes": codes, "memory": found, "damaged": await damaged}
        finally:
            process.terminate()
            process.wait()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--mutated", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bige-sample-") as scratch:
        work = given.work or Path(scratch)
        if given.work is None:
            asyncio.run(sample_work(work))
        found = asyncio.run(measure(work, given.users, given.minutes, given.mutated))
    every = sorted(s for values in found["seconds"].values() for s in values)
    for what, values in found["seconds"].items():
        values.sort()
        print(f"{what:22} {len(values):6} {statistics.median(values):7.3f} {at(values, 0.95):7.3f} {values[-1]:7.3f} s")
    print(f"{'all':22} {len(every):6} {statistics.median(every):7.3f} {at(every, 0.95):7.3f} {every[-1]:7.3f} s")
    print(f"answers {dict(found['codes'])}")
    memory = found["memory"]
    tenth = max(1, len(memory) // 10)
    first, last = (
        statistics.mean(mb for _, mb in part) for part in (memory[tenth : 2 * tenth] or memory, memory[-tenth:])
    )
    print(f"memory of the server {first:.0f} MB after a tenth, {last:.0f} MB at the end")
    if given.mutated:
        print(f"damaged files: {dict(found['damaged'])}")
    return 0


def at(values: list[float], share: float) -> float:
    """The value below which such a share lies, of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    sys.exit(main())
