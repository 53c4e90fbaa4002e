"""Talks to a running ComfyUI: queues a prompt over HTTP and follows it over the websocket."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

Json = dict[str, Any]
SECONDS_BETWEEN_CHECKS = 5.0
LAST_EVENTS = {"execution_success", "execution_error", "execution_interrupted"}


class PromptRefused(Exception):
    """ComfyUI did not accept a prompt; the text says which input of which node is wrong."""


@dataclass(frozen=True)
class Event:
    """One websocket message about our prompt. time: seconds of a monotonic clock when it came."""

    kind: str
    data: Json
    time: float


@dataclass(frozen=True)
class Run:
    """A prompt that has ended: what was told while it ran and what the history says about it."""

    prompt_id: str
    events: list[Event]
    history: Json

    @property
    def succeeded(self) -> bool:
        return self.events[-1].kind == "execution_success"

    @property
    def error(self) -> str | None:
        """What went wrong, as one sentence; None after a success."""
        last = self.events[-1]
        if last.kind == "execution_error":
            message = str(last.data.get("exception_message", "")).strip()
            return f"Node {last.data.get('node_id')} ({last.data.get('node_type')}) failed: {message}"
        return None if self.succeeded else "The run was interrupted."

    @property
    def cached_nodes(self) -> set[str]:
        """Ids of the nodes whose results were taken from an earlier run."""
        return {node for e in self.events if e.kind == "execution_cached" for node in e.data["nodes"]}

    @property
    def executed_nodes(self) -> set[str]:
        """Ids of the nodes that really ran."""
        return {e.data["node"] for e in self.events if e.kind == "executing" and e.data["node"] is not None}

    @property
    def outputs(self) -> Json:
        """Node id to what the node showed: saved files, texts."""
        return self.history.get("outputs", {})


class ComfyClient:
    """url: where ComfyUI answers. check: called now and then while waiting; it raises an error once
    ComfyUI can no longer answer, for example because its process has ended.
    """

    def __init__(self, url: str, check: Callable[[], None] = lambda: None):
        self.url = url
        self.check = check
        self.client_id = uuid.uuid4().hex

    def get(self, path: str) -> Json:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as response:
            return json.load(response)

    def post(self, path: str, body: Json) -> bytes:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()

    def object_info(self) -> Json:
        return self.get("/object_info")

    def submit(self, prompt: Json, workflow: Json | None = None) -> str:
        """Queues a prompt in API form and returns its id; raises PromptRefused with the reasons.

        workflow: the browser's form, written into the saved files so that they can be dropped on the canvas.
        """
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow else {}
        body = {"prompt": prompt, "client_id": self.client_id, "extra_data": extra}
        try:
            answer = json.loads(self.post("/prompt", body))
        except urllib.error.HTTPError as error:
            raise PromptRefused(explain_refusal(error.read(), prompt)) from error
        if answer.get("node_errors"):
            # ComfyUI runs the part of a graph that is valid; half a result would pass for a whole one.
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            self.post("/interrupt", {})
            raise PromptRefused(explain_refusal(json.dumps(answer).encode(), prompt))
        return answer["prompt_id"]

    def follow(self, prompt: Json, workflow: Json | None = None) -> Iterator[Event]:
        """Queues a prompt and yields its events until it has ended, however it ends.

        The websocket is open before the prompt is queued, so no event is missed.
        """
        loop = asyncio.new_event_loop()
        session = loop.run_until_complete(open_session())
        try:
            address = f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}"
            socket = loop.run_until_complete(session.ws_connect(address, max_msg_size=0))
            prompt_id = self.submit(prompt, workflow)
            while True:
                event = self.next_event(loop, socket)
                if event is None or event.data.get("prompt_id") != prompt_id:
                    continue
                yield event
                if event.kind in LAST_EVENTS:
                    return
        finally:
            loop.run_until_complete(session.close())
            loop.close()

    def next_event(self, loop: asyncio.AbstractEventLoop, socket: Any) -> Event | None:
        """The next JSON message; None for previews and after a while of silence."""
        try:
            message = loop.run_until_complete(socket.receive(SECONDS_BETWEEN_CHECKS))
        except asyncio.TimeoutError:
            self.check()
            return None
        if message.type == aiohttp.WSMsgType.TEXT:
            content = json.loads(message.data)
            return Event(content["type"], content.get("data") or {}, time.monotonic())
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
            # A server that ends closes its sockets a moment before its process is gone.
            time.sleep(1.0)
            self.check()
            raise ConnectionError("ComfyUI closed the connection while the prompt was running.")
        return None

    def run(self, prompt: Json, workflow: Json | None = None) -> Run:
        """Queues a prompt, waits for its end and returns everything about it."""
        return self.finish(list(self.follow(prompt, workflow)))

    def finish(self, events: list[Event]) -> Run:
        """Adds the history to the events of a prompt that has ended."""
        prompt_id = events[-1].data["prompt_id"]
        deadline = time.monotonic() + 10
        history = {}
        # The last event is sent just before the history is written.
        while not history and time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}").get(prompt_id, {})
            if not history:
                time.sleep(0.05)
        return Run(prompt_id, events, history)


async def open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


def explain_refusal(body: bytes, prompt: Json) -> str:
    """ComfyUI's answer to a prompt that it does not take, one sentence for each thing that is wrong."""
    try:
        answer = json.loads(body)
        general = answer.get("error") or {}
        reports = answer.get("node_errors") or {}
    except (ValueError, AttributeError):
        return f"ComfyUI did not take the workflow: {body.decode(errors='replace').strip()}"
    sentences = []
    for key, report in reports.items():
        title = prompt.get(key, {}).get("_meta", {}).get("title", report.get("class_type"))
        for problem in report.get("errors", []):
            sentences.append(f"Node {key} ({title}): {with_details(problem)}")
    return "\n".join(sentences) or with_details(general)


def with_details(problem: Json) -> str:
    message, details = problem.get("message") or "ComfyUI did not take the workflow", problem.get("details")
    return f"{message}: {details}." if details else f"{message}."
