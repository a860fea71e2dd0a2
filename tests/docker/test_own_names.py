"""The servers of the stack are told exactly the names that are their own, and Prefect's answers to no
other: not by a foreign Host, not from a foreign Origin, not by a websocket.

The check itself, in front of a small application; `tests/containers` asks the real servers.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

DOCKER = Path(__file__).parents[2] / "docker"
SETTINGS = {"STACK_PORT": "4201", "STACK_HOSTS": "GPU.example, proxy.example:8443"}


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCKER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Whoever asks an application that stands behind the check."""
    prefect = program("prefect_server")

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    routes = [
        Route("/", lambda _: PlainTextResponse("hello"), methods=["GET", "POST"]),
        WebSocketRoute("/socket", echo),
    ]
    return TestClient(prefect.OwnNamesOnly(Starlette(routes=routes), prefect.own_names(SETTINGS)))


OWN = ["127.0.0.1:4201", "localhost:4201", "prefect:4200", "127.0.0.1:4200", "gpu.example", "gpu.example:4201"]
FOREIGN = ["evil.example", "evil.example:4201", "127.0.0.1:80", "169.254.1.1:4200", "proxy.example", "", "prefect"]


@pytest.mark.parametrize("host", [*OWN, "GPU.EXAMPLE:4201", "proxy.example:8443"])
def test_a_request_for_an_allowed_host_name_is_answered(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).text == "hello"


@pytest.mark.parametrize("host", FOREIGN)
def test_a_request_for_another_host_name_is_refused(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 403
    assert "STACK_HOSTS" in answer.text


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1", "http://127.0.0.1:80", "null", ""])
def test_a_request_from_a_page_of_another_site_is_refused(client: TestClient, method: str, origin: str) -> None:
    headers = {"Host": "127.0.0.1:4201", "Origin": origin}
    refused = origin != "https://127.0.0.1"  # a name of ours, as behind a proxy that ends TLS
    assert (client.request(method, "/", headers=headers).status_code == 403) is refused


def test_a_request_from_a_page_of_the_same_site_is_answered(client: TestClient) -> None:
    headers = {"Host": "127.0.0.1:4201", "Origin": "http://127.0.0.1:4201"}
    assert client.post("/", headers=headers).text == "hello"


def test_every_page_forbids_frames_and_calls_to_other_servers(client: TestClient) -> None:
    policy = client.get("/", headers={"Host": OWN[0]}).headers["Content-Security-Policy"]
    assert policy.split("; ") == ["connect-src 'self'", "frame-ancestors 'none'"]


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Host": OWN[0], "Origin": "http://evil.example"}])
def test_a_websocket_with_a_foreign_host_or_origin_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    with client.websocket_connect("/socket", headers={"Host": OWN[0]}) as socket:
        assert socket.receive_text() == "hello"
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/socket", headers=headers):
        pass


def test_mlflow_gets_every_allowed_host_name_and_its_origins() -> None:
    told = program("mlflow_names").own_names({"STACK_PORT": "5001", "STACK_HOSTS": "GPU.example"})
    assert set(told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")) == {
        *("mlflow:5000", "localhost", "127.0.0.1", "gpu.example"),
        *("localhost:5001", "127.0.0.1:5001", "gpu.example:5001"),
    }
    origins = set(told["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(","))
    assert {"http://127.0.0.1:5001", "https://gpu.example"} <= origins
    assert "*" not in "".join(origins)
