"""The hot store's server: MariaDB, or MySQL 8 from its own archive."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Final

from orderctl.stack.folder import make_password
from orderctl.stack.jars import Jars
from orderctl.stack.layout import HOST, Layout
from orderctl.stack.probes import greets_as_sql
from orderctl.stack.server import Part, Server, make_once, nothing, program, template
from orderctl.stack.waiting import Wait

DATABASE: Final = "orderctl"
USER: Final = "orderctl"
NAME: Final = "sql"


def sql_part(layout: Layout, folder: Path, jars: Jars) -> Part:
    """MariaDB or MySQL, as the layout says."""
    is_mysql = layout.sql == "mysql"
    base = jars.of("mysql")
    daemon = str(base / "bin" / "mysqld") if is_mysql else program("mariadbd")
    at = folder / NAME
    user = f"--user={getpass.getuser()}"  # the server refuses to run as root unless it is told to
    server = Server(
        name=NAME,
        folder=at,
        addresses=((HOST, layout.sql_port),),
        # The users' file is named here and not in the configuration: MySQL would run it while it makes its data, and fail.
        command=(daemon, f"--defaults-file={at / 'my.cnf'}", user, f"--init-file={at / 'users.sql'}"),
        files={
            "my.cnf": template(f"{layout.sql}.cnf", host=HOST, port=layout.sql_port, data=at / "data", base=base),
        },
        answers=greets_as_sql,
        healthy=greets_as_sql,
    )
    defaults = f"--defaults-file={at / 'my.cnf'}"
    if is_mysql:
        making = [daemon, defaults, user, "--initialize-insecure"]
    else:
        making = [program("mariadb-install-db"), defaults, user, "--skip-test-db"]

    def make(wait: Wait) -> None:
        server.write(
            "users.sql", template("users.sql", user=USER, host=HOST, database=DATABASE, password=make_password(folder))
        )
        if is_mysql:
            jars.fetch("mysql", wait)
        make_once(at, server.data, lambda: wait.run(making, log=server.log, what="given its first data"))

    programs = ("mvn",) if is_mysql and not jars.are_there("mysql") else ()
    return Part(
        name=NAME,
        servers=(server,),
        programs=programs if is_mysql else ("mariadbd", "mariadb-install-db"),
        make=make,
        join=nothing,
        limit_s=600 if programs else 120,
    )
