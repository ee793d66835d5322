"""Terraform's part: the policy is what the program prints, and an apply leaves the service where it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest

from ec2ident_agent.failover.cli import main

FOLDER = Path(__file__).parents[2] / "examples/terraform"
MAIN = (FOLDER / "main.tf").read_text(encoding="utf-8")
TEMPLATES = ("policy.json.tftpl", "failover.toml.tftpl")

REGION, ACCOUNT, ARN = "eu-west-1", "123456789012", "arn:aws:ec2:eu-west-1:123456789012"
TABLES = ["rtb-0a1b2c3d4e5f60001", "rtb-0a1b2c3d4e5f60002"]
INTERFACES = ["eni-0a1b2c3d4e5f60001", "eni-0a1b2c3d4e5f60002"]
VALUES = {
    "region": REGION,
    "account": ACCOUNT,
    "instances": ["i-0a1b2c3d4e5f60001", "i-0a1b2c3d4e5f60002"],
    "interfaces": INTERFACES,
    "overlay": "192.168.10.5/32",
    "tables": TABLES,
    "table_arns": [f"{ARN}:route-table/{table}" for table in TABLES],
    "interface_arns": [f"{ARN}:network-interface/{interface}" for interface in INTERFACES],
}


def rendered(name: str) -> str:
    """A template with VALUES; all that it says in Terraform's language is jsonencode(NAME)."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return re.sub(r"\$\{jsonencode\((\w+)\)\}", lambda found: json.dumps(VALUES[found[1]]), text)


def spaceless(text: str) -> str:
    """The text without white space, which Terraform's JSON has less of."""
    return "".join(text.split())


def parsed() -> dict[str, Any]:
    """main.tf as python-hcl2 reads it, by kind and name; its versions differ in what they do with quotation marks."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key.strip('"'): bare(each) for key, each in value.items()}
        if isinstance(value, list):
            return [bare(each) for each in value]
        return value.strip('"') if isinstance(value, str) else value

    found: dict[str, Any] = {}
    for resource in bare(hcl2.loads(MAIN))["resource"]:
        ((kind, named),) = ((kind, named) for kind, named in resource.items() if not kind.startswith("__"))
        found.update({f"{kind}.{name}": body for name, body in named.items()})
    return found


def test_the_policy_is_what_the_program_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the failover.toml that Terraform makes of the same values."""
    path = tmp_path / "failover.toml"
    path.write_text(rendered("failover.toml.tftpl"))
    path.chmod(0o600)

    assert 0 == main(["policy", "--config", str(path)], environ={}, root="/nonexistent")
    assert json.loads(capsys.readouterr().out) == json.loads(rendered("policy.json.tftpl"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_gets_the_variables_that_it_uses(name: str) -> None:
    """Terraform refuses a missing one only when it applies."""
    (given,) = re.findall(
        rf'templatefile\("\$\{{path\.module\}}/{re.escape(name)}", {{\n(.*?)\n  }}\)', MAIN, re.DOTALL
    )
    used = re.findall(r"jsonencode\((\w+)\)", (FOLDER / name).read_text(encoding="utf-8"))

    assert set(used) == set(re.findall(r"^ +(\w+) +=", given, re.MULTILINE))
    assert "${" not in rendered(name)


def test_an_apply_leaves_the_service_where_it_is() -> None:
    """The tables do not list their routes, and the target of the overlay's route is not Terraform's after the first."""
    found = parsed()

    assert {"vpc_id", "for_each", "tags"} == {key for key in found["aws_route_table.service"] if key[0] != "_"}
    (lifecycle,) = found["aws_route.overlay"]["lifecycle"]
    assert "network_interface_id" in str(lifecycle["ignore_changes"])


def test_terraform_reads_it(tmp_path: Path) -> None:
    """Its own layout, and its own rendering of the templates; both need no provider."""
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("needs terraform, which neither Debian nor a package index has")
    for name in TEMPLATES:
        shutil.copy(FOLDER / name, tmp_path)

    def run(*words: str, given: str = "") -> str:
        environment = {"PATH": os.defpath, "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}
        argv = [terraform, *words]
        done = subprocess.run(
            argv, cwd=tmp_path, env=environment, input=given, capture_output=True, text=True, timeout=60
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    assert "" == run("fmt", "-check", "-diff", str(FOLDER))
    for name in TEMPLATES:
        said = run("console", given=f'jsonencode(templatefile("{name}", {json.dumps(VALUES)}))\n')
        assert spaceless(rendered(name)) == spaceless(json.loads(json.loads(said)))
