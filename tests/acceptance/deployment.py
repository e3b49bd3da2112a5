"""A deployment on real servers, ready to be served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from orderctl.config import Config, load

KEYS = {"demo": ["--merchant", "demo", "--role", "merchant"], "gateway": ["--role", "gateway"]}


class Deployment:
    """The stack, migrated, with keys where the tests' servers look for them."""

    def __init__(self, file: Path, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.settings = {"ORDERCTL_CONFIG": str(file)}
        self.config: Config = load(file, {})
        self._orderctl("migrate")
        (data_dir / "keys").mkdir(parents=True)
        for name, options in KEYS.items():
            made = json.loads(self._orderctl("key", "create", *options, "-o", "json"))
            (data_dir / "keys" / name).write_text(made["key"])

    def _orderctl(self, *arguments: str) -> bytes:
        command = [sys.executable, "-m", "orderctl", *arguments, "--config", self.settings["ORDERCTL_CONFIG"]]
        return subprocess.run(
            [*command, "--data-dir", str(self.data_dir)], check=True, stdout=subprocess.PIPE, timeout=100
        ).stdout
