"""hf: sources against a small server that answers as the hub does (huggingface_hub reads HF_ENDPOINT when imported)."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ltpml_jax.errors import UserError
from ltpml_jax.models import weight_files
from tests.helpers.runs import ROOT

FILES = {"timm/tiny/model.safetensors": b"default" * 100, "timm/tiny/old/weights.pth": b"other" * 100}
LOCATE = """import sys
from ltpml_jax.errors import UserError
from ltpml_jax.models import weight_files
status = 0
for source in sys.argv[1:]:
    try:
        print(weight_files.locate(source))
    except UserError as error:
        status = 1
        print(f"error: {error}", file=sys.stderr)
sys.exit(status)"""


class Hub(BaseHTTPRequestHandler):
    """HEAD and GET of OWNER/NAME/resolve/main/FILE, with the headers that the client asks for."""

    requests: list[str]

    def do_HEAD(self) -> None:
        self.answer(self.path.lstrip("/").replace("resolve/main/", ""))

    def do_GET(self) -> None:
        self.wfile.write(self.answer(self.path.lstrip("/").replace("resolve/main/", "")))

    def answer(self, name: str) -> bytes:
        self.requests.append(f"{self.command} {name}")
        if name in FILES:
            return self.send(200, FILES[name])
        if name.startswith("timm/gated/"):
            return self.send(403, b"", "GatedRepo")
        return self.send(404, b"", "EntryNotFound" if name.startswith("timm/tiny/") else "RepoNotFound")

    def send(self, status: int, content: bytes, code: str | None = None) -> bytes:
        self.send_response(status)
        headers = {"X-Repo-Commit": "1" * 40, "ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Error-Code": code}
        for header, value in {**headers, "Content-Length": str(len(content))}.items():
            if value is not None:
                self.send_header(header, value)
        self.end_headers()
        return content

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Recorded", (Hub,), {"requests": []}))
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    stop(server)


def stop(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


def requests(server: ThreadingHTTPServer) -> list[str]:
    return server.RequestHandlerClass.requests  # pyright: ignore[reportAttributeAccessIssue]


def locate(server: ThreadingHTTPServer, home: Path, *sources: str, **more: str) -> subprocess.CompletedProcess[str]:
    """What a fresh process says, with a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    environment = kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "no_proxy": "127.0.0.1"} | more
    command = [sys.executable, "-c", LOCATE, *sources]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def failure(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout
    message = done.stderr.strip().rpartition("error: ")[2]
    assert "Traceback" not in done.stderr
    assert "\n" not in message
    return message


def test_a_path_is_a_path() -> None:
    assert weight_files.locate("runs/a.pth") == Path("runs/a.pth")
    assert weight_files.locate(Path("/weights/b.safetensors")) == Path("/weights/b.safetensors")
    assert weight_files.locate("~/c") == Path.home() / "c"


@pytest.mark.parametrize("source", ["hf:", "hf:resnet50", "hf:timm/", "hf:/resnet50", "hf:timm/resnet50/"])
def test_a_name_that_is_no_file_of_the_hub(source: str) -> None:
    with pytest.raises(UserError, match="write hf:OWNER/NAME"):
        weight_files.locate(source)


@pytest.mark.processes
def test_a_file_is_downloaded_once_and_found_without_the_hub(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    paths = [locate(hub, tmp_path, "hf:timm/tiny").stdout.strip() for _ in range(2)]
    assert Path(paths[0]).read_bytes() == FILES["timm/tiny/model.safetensors"]
    assert sum(request == "GET timm/tiny/model.safetensors" for request in requests(hub)) == 1, requests(hub)
    stop(hub)
    paths.append(locate(hub, tmp_path, "hf:timm/tiny").stdout.strip())
    paths.append(locate(hub, tmp_path, "hf:timm/tiny", HF_HUB_OFFLINE="1").stdout.strip())
    assert len(set(paths)) == 1


@pytest.mark.processes
def test_a_file_may_be_named(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    path = Path(locate(hub, tmp_path, "hf:timm/tiny/old/weights.pth").stdout.strip())
    assert path.read_bytes() == FILES["timm/tiny/old/weights.pth"]


REASONS = {
    "hf:timm/tiny/none.pth": "cannot fetch none.pth of hf:timm/tiny/none.pth (the repository has no such file)",
    "hf:timm/nowhere": "no such repository, or a private one",
    "hf:timm/gated": "the repository gives access on request only",
    "hf:timm/-- no name --": "cannot fetch model.safetensors of hf:timm/-- no name --",
    "hf:timm/tiny/../../secret": "cannot fetch ../../secret of",
}


@pytest.mark.processes
def test_what_the_hub_does_not_give(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    done = locate(hub, tmp_path, *REASONS)
    messages = done.stderr.splitlines()
    assert done.returncode == 1 and len(messages) == len(REASONS), done.stderr
    for message, reason in zip(messages, REASONS.values(), strict=True):
        assert message.startswith("error: ") and reason in message
        assert "set HF_ENDPOINT to a mirror of the hub, download the file elsewhere and give its path, or" in message
        assert message.endswith("--config.model.pretrained=")


@pytest.mark.processes
def test_no_hub_and_no_copy(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    message = failure(locate(hub, tmp_path, "hf:timm/tiny", HF_HUB_OFFLINE="1"))
    assert "the hub cannot be reached, and the file is not in the cache" in message
    assert requests(hub) == []


def test_a_hub_that_is_not_there_is_noticed_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens at "discard"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    started = time.monotonic()
    with pytest.raises(UserError, match="the hub cannot be reached, .* without it by --config.model.pretrained="):
        weight_files.locate("hf:absent/none")
    assert time.monotonic() - started < 5  # the library alone takes 24
