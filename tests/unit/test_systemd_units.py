"""The systemd units: systemd itself reads them, and finds little that a broken-into service could reach."""

from __future__ import annotations

import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from orderctl.config import Config, load
from orderctl.contracts import contract_names, contract_path
from orderctl.daemons.manifest import names
from orderctl.duration import Duration
from tests.stack import needs

EXPOSURE_TENTHS_MAX = 15
PROGRAM = "/opt/orderctl/bin/orderctl"
UNITS = contract_names("daemons", "systemd/*")


def analyze(*arguments: str) -> str:
    """Run systemd-analyze, which needs no running systemd; returns what it says, and fails where it objects."""
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is missing: install the package systemd (`make servers`)"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def sections(unit: str) -> ConfigParser:
    """A unit as its sections. Names that stand more than once keep their last value."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(contract_path("daemons", unit).read_text("utf-8"))
    return parser


def test_every_daemon_has_a_unit_and_back() -> None:
    """Named after the daemon, a template for its instances."""
    assert tuple(sorted(f"systemd/orderctl-{name}@.service" for name in names())) == UNITS


@needs()
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_the_unit(unit: str, tmp_path: Path) -> None:
    """Checked on a copy whose program exists here; nothing is remarked upon either."""
    copy = tmp_path / Path(unit).name.replace("@.", "@1.")
    program = tmp_path / "orderctl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = contract_path("daemons", unit).read_text("utf-8")
    assert f"ExecStart={PROGRAM} serve " in text
    copy.write_text(text.replace(PROGRAM, str(program)))
    said = analyze("verify", str(copy))
    assert copy.name not in said, said


@needs()
@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_exposes_little(unit: str) -> None:
    """At most 1.5 of 10 by systemd's own reckoning."""
    analyze("security", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}", str(contract_path("daemons", unit)))


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_starts_its_daemon_and_waits_for_its_drain(unit: str) -> None:
    """It tells the instance, and is more patient than the defaults need."""
    service = sections(unit)["Service"]
    name = unit.removeprefix("systemd/orderctl-").removesuffix("@.service")
    assert service["ExecStart"] == f"{PROGRAM} serve {name}"
    assert service["Type"] == "notify"
    needed_s = Config().daemon.drain_delay + 3 * Config().daemon.stop_timeout
    assert Duration.parse(service["TimeoutStopSec"]) > needed_s
    environment = dict(each.split("=", 1) for each in service["Environment"].split())
    environment.pop("ORDERCTL_CONFIG")
    assert load(None, environment).daemon.instance == "%H-%i"
