"""`loadtest during`: steady load on a URL while something else happens."""

import asyncio
import json
import os

from .docker import run


def release(end):
    """Ends the command that reads from this pipe, if it reads yet."""
    try:
        os.close(os.open(end, os.O_WRONLY | os.O_NONBLOCK))
        return True
    except OSError:
        return False


class Load:
    """Requests at a constant rate, and event streams. Clients retry nothing."""

    def __init__(self, program, url, authority, work, rate):
        self.program, self.url, self.authority, self.work, self.rate = program, url, authority, work, rate

    async def during(self, operation):
        """Awaits an operation under load; returns the report, and the operation's exception."""
        report, end = self.work / "report.json", self.work / "end"
        for path in (report, end):
            path.unlink(missing_ok=True)
        os.mkfifo(end)
        # The command ends when somebody has opened the pipe and closed it.
        load = asyncio.create_task(
            run(
                *(self.program, "during", "--target", self.url, "--cacert", self.authority, "--rate", self.rate, "--connections", 32),
                *("--streams", 4, "--settle", "10s", "--json", report, "--", "cat", end),
                timeout_s=3600,
            )
        )
        # Not before its clients run: it takes 2 s by itself.
        await asyncio.sleep(3)
        error = None
        try:
            await operation
        except Exception as raised:  # pylint: disable=broad-exception-caught
            error = raised
        except BaseException:
            release(end)
            raise
        if load.done():
            raise RuntimeError(f"the load has ended: {load.result()[1]}")
        while not load.done() and not release(end):
            await asyncio.sleep(0.1)
        status, output = await load
        if not report.exists():
            raise RuntimeError(f"loadtest has ended with the status {status}: {output}")
        return json.loads(report.read_text()), error
