"""Holds answers against the OpenAPI documents: what an operation may answer, and in which shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from orderctl.contracts import contract_text

Node = dict[str, Any]
METHODS = ("get", "post", "patch", "put", "delete")


class Document:
    """One OpenAPI document, and what was seen of it so far."""

    def __init__(self, name: str) -> None:
        self.tree: Node = yaml.safe_load(contract_text("http", name))
        self.seen: set[tuple[str, str, str]] = set()

    def operations(self) -> Iterator[tuple[str, str, Node]]:
        """Every path, method and operation."""
        for path, item in self.tree["paths"].items():
            for method in METHODS:
                if method in item:
                    yield path, method, item[method]

    def resolve(self, node: Node) -> Node:
        """`node`, or what it refers to."""
        while "$ref" in node:
            target: Any = self.tree
            for name in node["$ref"].removeprefix("#/").split("/"):
                target = target[name]
            node = target
        return node

    def find(self, path: str, method: str) -> tuple[str, Node] | None:
        """The operation that answers a request: its path's template, and itself."""
        matches = [
            (template, operation)
            for template, known, operation in self.operations()
            if known == method.lower().replace("head", "get")
            and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path)
        ]
        return min(matches, key=lambda match: "{" in match[0]) if matches else None

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: Any) -> None:
        """Whether the document allows such an answer. `body` is the parsed JSON, None where there is no body."""
        found = self.find(path, method)
        if found is None:
            assert status in {404, 405}, f"{method} {path} is not documented, and answered {status}"
            self.check_json({"$ref": "#/components/schemas/Problem"}, body)
            return
        template, operation = found
        documented = operation["responses"]
        if status == 405:
            self.check_json({"$ref": "#/components/schemas/Problem"}, body)
            return
        assert str(status) in documented, f"{method} {template} does not document {status}"
        self.seen.add((method.lower(), template, str(status)))
        response = self.resolve(documented[str(status)])
        self._check_headers(response, headers)
        if body is None:
            return
        media_type = headers["content-type"].partition(";")[0]
        assert media_type in response.get("content", {}), f"{method} {template} {status} does not document {media_type}"
        self.check_json(response["content"][media_type]["schema"], body)

    def check_json(self, schema: Node, value: Any) -> None:
        """Whether `value` is as `schema` says."""
        Draft202012Validator({**schema, "components": self.tree["components"]}).validate(value)

    def _check_headers(self, response: Node, headers: Mapping[str, str]) -> None:
        for name, reference in response.get("headers", {}).items():
            header = self.resolve(reference)
            assert name in headers or not header.get("required"), f"the answer has no {name}"
            if name in headers:
                integer = header["schema"].get("type") == "integer"
                self.check_json(header["schema"], int(headers[name]) if integer else headers[name])
