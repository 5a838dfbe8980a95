"""The web app: `bige serve`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bige_opensim.commands.display import console, explained, fail


def serve(
    *,
    folder: Path = Path("bige_work"),
    port: int = 8080,
    host: str = "127.0.0.1",
    token: Annotated[str | None, Parameter(env_var="BIGE_TOKEN")] = None,
    name: Annotated[list[str] | None, Parameter(negative=())] = None,
    https: Annotated[bool, Parameter(negative=())] = False,
    open_browser: Annotated[bool, Parameter(name="--open")] = True,
) -> int:
    """Serve the web app: upload, label, search, verify and download in a browser.

    Parameters
    ----------
    folder
        Work folder: uploads, results and the queue of jobs, which go on where they were when it is served again.
    port
        Port to listen at; 0 for any that is free.
    host
        Address to listen at. By default this machine alone can come in; beyond it, a token is needed.
    token
        What users must know, 16 characters or more; better given as the environment variable BIGE_TOKEN.
    name
        A further name under which users reach the server, such as that of a proxy; can be given several times.
    https
        Users come through a proxy that speaks HTTPS: cookies are then sent in no other way.
    open_browser
        Open a browser; --no-open only says where the app is.

    """
    from bige_opensim.app.security import Access, AccessError
    from bige_opensim.app.server import open_app
    from bige_opensim.io.file_lock import LockedError, locked

    try:
        access = Access(host, token, tuple(name or ()), https)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "server", wait=False):
            asyncio.run(_serve(open_app(folder.absolute(), access), port, open_browser))
    except (AccessError, LockedError) as error:
        return fail(str(error))
    except OSError as error:
        return fail(explained(error) if error.filename else f"{host}:{port}: {error.strerror}; name another --port.")
    return 0


async def _serve(app: object, port: int, open_browser: bool) -> None:
    """Until Ctrl+C or a request to end."""
    import webbrowser

    from bige_opensim.app.server import App, serve

    assert isinstance(app, App)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def ready(port: int) -> None:
        shown = "127.0.0.1" if app.access.loopback else app.access.host
        address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
        console.print(
            f"{address}: the app; Ctrl+C ends it, and work goes on when it is served again",
            highlight=False,
            soft_wrap=True,
        )
        if open_browser and app.access.loopback:
            webbrowser.open(address)

    await serve(app, port, ready, stop)
