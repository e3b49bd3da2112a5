"""The OpenAPI documents, the code and the answers say the same, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from orderctl.body import OrderBody
from orderctl.contracts import contract_text
from orderctl.currency import Currency
from orderctl.order import AMOUNT_MAX, METADATA_BYTES_MAX, REASON_CHARS_MAX, VISIBLE_ASCII_64, NewOrder, Status
from orderctl.web import problems
from orderctl.web.edge import BODY_BYTES_MAX, ITEMS_MAX
from orderctl.web.problems import TYPE_PREFIX, Kind
from orderctl.web.shapes import EXPECTED, ChangeBody, ChangeItem, LookupBody
from tests.services.tiers import away
from tests.web.contract import Document, Node
from tests.web.edge import DOCUMENTS, CheckedClient, Edge, as_key, new_order

ABSENT = "0189abcd-0000-7000-8000-000000000000"
NAMES = ["command", "query"]
PROXYS = {"429"}
"""Statuses that only a proxy in front gives."""


@pytest.mark.parametrize("name", NAMES)
def test_the_document_is_valid_openapi(name: str) -> None:
    """By the specification's own schema."""
    validate(DOCUMENTS[name].tree)


def routes_of(app: Any) -> Iterator[tuple[str, str]]:
    """Every route and method of an application, found inside what surrounds it."""
    while not hasattr(app, "routes"):
        app = app._app
    for route in app.routes:
        for method in route.methods - {"HEAD"}:
            yield route.path, method.lower()


@pytest.mark.parametrize("name", NAMES)
def test_every_route_is_documented_and_back(edge: Edge, name: str) -> None:
    """Paths and methods."""
    app = edge.command_app() if name == "command" else edge.query_app()
    assert set(routes_of(app)) == {(path, method) for path, method, _ in DOCUMENTS[name].operations()}


@pytest.mark.parametrize("name", NAMES)
def test_the_servers_serve_their_document_without_a_key(
    command: CheckedClient, query: CheckedClient, name: str
) -> None:
    """As JSON, the same document."""
    client = command if name == "command" else query
    del client.headers["Authorization"]
    assert client.get("/openapi.json").json() == json.loads(json.dumps(DOCUMENTS[name].tree))


@pytest.mark.parametrize("name", NAMES)
def test_only_health_and_the_document_need_no_key(name: str) -> None:
    """Every other operation is under the security scheme and documents 401."""
    for path, _, operation in DOCUMENTS[name].operations():
        is_open = operation.get("security") == []
        assert is_open == (not path.startswith("/v1/"))
        assert is_open != ("401" in operation["responses"])


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_has_its_request_id(name: str) -> None:
    """Each documented answer has the header."""
    document = DOCUMENTS[name]
    for path, method, operation in document.operations():
        for status, response in operation["responses"].items():
            assert "X-Request-Id" in document.resolve(response)["headers"], f"{method} {path} {status}"


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_is_in_the_document(name: str) -> None:
    """Their `type`s; the command server's document has all of them, the query server's those of reading."""
    kinds = {TYPE_PREFIX + kind.name for kind in vars(problems).values() if isinstance(kind, Kind)}
    documented = set(DOCUMENTS[name].tree["components"]["schemas"]["Problem"]["properties"]["type"]["enum"])
    of_writing = {
        TYPE_PREFIX + n for n in ("illegal-transition", "version-mismatch", "reference-reused", "outcome-unknown")
    }
    assert documented - {TYPE_PREFIX + "too-many-requests"} == (kinds if name == "command" else kinds - of_writing)


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_valid(name: str) -> None:
    """Bodies, parameters and answers."""
    document = DOCUMENTS[name]
    for _, _, operation in document.operations():
        contents = [operation.get("requestBody", {}), *map(document.resolve, operation["responses"].values())]
        for media in (media for content in contents for media in content.get("content", {}).values()):
            examples = [example["value"] for example in media.get("examples", {}).values()]
            examples += [media["example"]] if "example" in media else []
            for example in examples:
                document.check_json(media["schema"], example)
    for schema in document.tree["components"]["schemas"].values():
        for example in schema.get("examples", []):
            document.check_json(schema, example)


CONSTRAINTS = (
    "type",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "default",
    "required",
)


def plain(tree: Node, schema: Node) -> Node:
    """What a schema demands, without words, references and the two ways to say "or null"."""
    while "$ref" in schema:
        target: Any = tree
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        schema = target | {key: value for key, value in schema.items() if key != "$ref"}
    if "anyOf" in schema:
        parts = [plain(tree, part) for part in schema["anyOf"]]
        schema = {**schema, **{k: v for part in parts for k, v in part.items()}, "type": [p["type"] for p in parts]}
    demands = {key: schema[key] for key in CONSTRAINTS if key in schema}
    if "enum" in demands:
        demands = {**demands, "type": "string", "enum": sorted(demands["enum"])}
    if isinstance(demands.get("type"), list):
        demands["type"] = sorted(demands["type"])
    if isinstance(demands.get("required"), list):
        demands["required"] = sorted(demands["required"])
    if "pattern" in schema:
        demands["pattern"] = schema["pattern"].removesuffix(r"(?!\n)")
    if "properties" in schema:
        demands["properties"] = {name: plain(tree, member) for name, member in schema["properties"].items()}
    for key in ("additionalProperties", "items"):
        if key in schema:
            demands[key] = plain(tree, schema[key]) if isinstance(schema[key], dict) else schema[key]
    return demands


@pytest.mark.parametrize(
    ("name", "type_"), [("command", NewOrder), ("command", ChangeBody), ("command", ChangeItem), ("query", LookupBody)]
)
def test_the_documents_bodies_are_the_codes(name: str, type_: type[msgspec.Struct]) -> None:
    """The same members, types, limits and defaults; ids and list lengths, which the code checks apart, are only documented."""
    code = plain(schema := msgspec.json.schema(type_), schema)
    documented = plain(DOCUMENTS[name].tree, DOCUMENTS[name].tree["components"]["schemas"][type_.__name__])
    for node in (documented["properties"], documented["properties"].get("order_ids", {}).get("items", {})):
        node.get("order_id", node).pop("pattern", None)
    if "order_ids" in documented["properties"]:
        assert documented["properties"]["order_ids"].pop("maxItems") == ITEMS_MAX
    assert documented == code


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_order_is_the_codes(name: str) -> None:
    """The same members, all required, of the same types; the document adds what the database keeps to."""
    code = plain(schema := msgspec.json.schema(OrderBody), schema)
    documented = plain(DOCUMENTS[name].tree, DOCUMENTS[name].tree["components"]["schemas"]["Order"])
    assert list(documented["properties"]) == list(code["properties"])
    assert documented["required"] == code["required"] == sorted(code["properties"])
    assert {k: v["type"] for k, v in documented["properties"].items()} == {
        k: v["type"] for k, v in code["properties"].items()
    }
    assert documented["properties"]["status"]["enum"] == sorted(Status)


def test_the_limits_are_the_codes() -> None:
    """Numbers that the types do not hold."""
    schemas = DOCUMENTS["command"].tree["components"]["schemas"]
    assert schemas["Amount"]["maximum"] == AMOUNT_MAX
    assert schemas["MerchantRef"]["pattern"] + r"(?!\n)" == VISIBLE_ASCII_64
    assert schemas["ChangeBody"]["properties"]["status_reason"]["maxLength"] == REASON_CHARS_MAX
    assert schemas["Currency"]["enum"] == list(get_args(Currency))
    assert (METADATA_BYTES_MAX, BODY_BYTES_MAX) == (1024, 1 << 20)  # "1 KiB", "1 MiB"
    for path, member in (("batch", "orders"), ("changes", "changes")):
        body = DOCUMENTS["command"].tree["paths"][f"/v1/orders/{path}"]["post"]["requestBody"]
        assert body["content"]["application/json"]["schema"]["properties"][member]["maxItems"] == ITEMS_MAX


def test_every_member_has_its_words() -> None:
    """What a person is told of a member that is wrong."""
    members = {name for type_ in (NewOrder, ChangeBody, ChangeItem, LookupBody) for name in type_.__struct_fields__}
    assert set(EXPECTED) == members


def test_every_documented_status_can_be_had(edge: Edge, command: CheckedClient, query: CheckedClient) -> None:
    """Each operation gives each status that its document names (but the proxy's), and `CheckedClient` knows of no other."""
    for name, client in (("command", command), ("query", query)):
        document = Document(f"{name}.yaml")
        client._document = document
        provoke(edge, command, client, document)
        missing = {
            (method, path, status)
            for path, method, operation in document.operations()
            for status in set(operation["responses"]) - PROXYS - {"408"}  # 408 needs a socket: see test_sockets
        } - document.seen
        assert missing == set()


def provoke(edge: Edge, writer: CheckedClient, client: CheckedClient, document: Document) -> None:
    """Call every operation in every way that has an answer of its own."""
    order_id = writer.post("/v1/orders", json=new_order("taken")).json()["order_id"]
    gateway, gzip = as_key(edge.gateway), {"Content-Encoding": "gzip"}
    for template, method, operation in document.operations():
        path = template.replace("{order_id}", order_id)
        if template == "/v1/orders" and method == "get":
            path += "?merchant_ref=taken"
        body = body_of(operation, order_id)

        def ask(path: str = path, body: Any = body, method: str = method, **headers: str) -> int:
            return client.request(method, path, json=body, headers=headers).status_code

        for headers in (
            gateway | {"If-Match": '"99"'},
            {},
            gateway,
            {"Authorization": ""},
            {"If-None-Match": "*"},
            gzip,
        ):
            ask(**headers)
        ask(body={"no": "thing"})
        ask(path.replace(order_id, ABSENT).replace("taken", "other"), **gateway)
        ask(path.replace(order_id, ABSENT).replace("taken", "other"))
        ask(path.replace(order_id, "x").replace("taken", "%20"))
        ask(body={"status": "processing"}, **gateway)
        ask(body={"status": "pending"}, **gateway)
        ask(body=new_order("taken", amount=7))
        ask(path + ("&" if "?" in path else "?") + "min_version=99")
        ask(body={"more than 1 MiB": "x" * BODY_BYTES_MAX})
        edge.probe.ill = edge.probe.unready = ["asked to be"]
        ask(path.replace(order_id, "x"), **gateway)
        edge.bench.hot.error = edge.bench.cache.error = edge.bench.late.error = away("mysql")
        ask()
        ask(body=new_order("another"))
        ask(**gateway)
        edge.bench.hot.error = edge.bench.cache.error = ZeroDivisionError()  # type: ignore[assignment]
        edge.bench.late.error = ZeroDivisionError()  # type: ignore[assignment]
        ask()
        ask(**gateway)
        edge.probe.ill = edge.probe.unready = []
        edge.bench.hot.error = edge.bench.cache.error = edge.bench.late.error = None
        edge.bench.clock.advance(2)  # the cache is asked again


def body_of(operation: Node, order_id: str) -> Any:
    """The operation's example, of an order that exists."""
    if "requestBody" not in operation:
        return None
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    text = json.dumps(next(iter(examples.values()))["value"])
    return json.loads(re.sub(r"0197b0de-[0-9a-f-]{27}", order_id, text))


def test_the_proxys_answers_are_problems_too() -> None:
    """What nginx.conf answers by itself has the documented shape and types, and its limits are the servers'."""
    text = contract_text("http", "nginx.conf")
    answers = re.findall(r"return (\d+) '(.*)';", text)
    assert sorted(status for status, _ in answers) == ["413", "429", "503"]
    for status, answer in answers:
        problem = json.loads(answer.replace("\\'", "'").replace("$orderctl_request_id", "id"))
        DOCUMENTS["command"].check_json({"$ref": "#/components/schemas/Problem"}, problem)
        assert problem["status"] == int(status)
    assert "client_max_body_size 1m;" in text
    assert text.count("{") == text.count("}")


def test_the_documents_agree_with_each_other() -> None:
    """What both have is the same, but for the types of problems that reading cannot have."""
    one, other = (yaml.safe_load(contract_text("http", f"{name}.yaml"))["components"] for name in NAMES)
    for section in ("schemas", "headers", "securitySchemes"):
        for name in set(one[section]) & set(other[section]) - {"Problem"}:
            assert one[section][name] == other[section][name]
            if section == "schemas":
                Draft202012Validator.check_schema(one[section][name])
