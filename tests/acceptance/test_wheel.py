"""The wheel works where there is no checkout: it carries the contract folders inside the package."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.server import Server

TOP = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's content and nothing else."""
    made = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(made), str(TOP)]
    subprocess.run(build, check=True, capture_output=True, timeout=100)
    (wheel,) = made.glob("orderctl-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(made / "site")
    return made / "site"


def test_it_holds_the_contracts_and_no_tests(installed: Path) -> None:
    """Every contract file is in it, under the package's own roof."""
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    for folder in ("daemons", "http", "sql", "cql"):
        for path in (TOP / folder).rglob("*"):
            if path.is_file():
                assert f"orderctl/contracts_data/{path.relative_to(TOP)}" in names
    assert {name.split("/")[0] for name in names if not name.startswith("orderctl-")} == {"orderctl"}


def test_it_serves_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    """Somewhere else, by itself: an order is created and read."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    where = "import orderctl; print(orderctl.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", where],
        check=True,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.stdout.strip() == str(installed / "orderctl" / "__init__.py")
    with Server(tmp_path / "data", settings=environment, folder=tmp_path) as server:
        body = {"merchant_ref": "r", "amount": 1, "currency": "EUR", "payment_method": "card"}
        created = server.command("POST", "/v1/orders", body=body)
        assert created.status == 201
        assert server.query("GET", f"/v1/orders/{created.json['order_id']}").json == created.json
        document = json.loads(server.query("GET", "/openapi.json").body)
        assert document["openapi"].startswith("3.1")
        assert server.stop() == 0
