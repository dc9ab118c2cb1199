"""infra/ by itself: its form, its sense, its own tests, and what must say the same as other files."""

from __future__ import annotations

import json
import re

import pytest

from contract.batches import KEPT_RESULT_DAYS, KEPT_UPLOAD_DAYS, TENSORS_TAG
from localcloud import resources
from localcloud.settings import Settings
from scripts import roll
from tests.infra.terraform import INFRA, ROOT, Terraform


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    tried = Terraform(tmp_path_factory.mktemp("configuration") / "infra")
    tried("init", "-backend=false")
    return tried


def said(name: str) -> str:
    return (INFRA / name).read_text(encoding="utf-8")


def test_it_is_formatted_and_valid(terraform: Terraform) -> None:
    terraform("fmt", "-check", "-recursive")
    assert json.loads(terraform("validate", "-json"))["diagnostics"] == []


def test_its_own_tests_pass(terraform: Terraform) -> None:
    number = len(re.findall(r'^run "', said("tests/configuration.tftest.hcl"), re.MULTILINE))
    assert f"{number} passed, 0 failed." in terraform("test")


def test_the_job_has_the_packages_of_its_requirements() -> None:
    wanted = (ROOT / "requirements" / "glue.txt").read_text(encoding="utf-8").splitlines()
    (pins,) = re.findall(r'--additional-python-modules"\s*=\s*"(.+)"', said("job.tf"))
    assert pins.split(",") and set(pins.split(",")) <= set(wanted)
    assert {pin.split("==")[0] for pin in pins.split(",")} == {"boto3", "pillow", "numpy"}


def test_things_are_kept_as_long_as_the_page_says() -> None:
    rules = dict(re.findall(r'id\s+= "(\w+)".*?days = (\d+)', said("storage.tf"), re.DOTALL))
    assert rules == {
        "uploads": str(KEPT_UPLOAD_DAYS),
        "tensors": str(KEPT_UPLOAD_DAYS),
        "results": str(KEPT_RESULT_DAYS),
    }
    tag = re.search(r'key\s+= "(\w+)"\s+value = "(\w+)"', said("storage.tf"))
    assert tag and f"{tag[1]}={tag[2]}" == TENSORS_TAG


def test_the_stand_ins_own_resources_are_named_alike() -> None:
    named = {name: f'"${{var.name}}{name.removeprefix("ninefold")}"' for name in
             (resources.FUNCTION, resources.DEAD_LETTERS, Settings().job)}  # fmt: skip
    everything = said("function.tf") + said("job.tf")
    assert [name for name, text in named.items() if text not in everything] == []


def test_the_host_is_told_all_that_production_asks_for() -> None:
    """`${NAME:?…}` is what Compose will not start without."""
    overlays = [ROOT / "docker-compose.production.yml", INFRA / "host" / "docker-compose.host.yml"]
    asked = {name for path in overlays for name in re.findall(r"\$\{(\w+)(?::\?|\})", path.read_text(encoding="utf-8"))}
    (settings,) = re.findall(r"  settings = {\n(.+?)\n  }", said("host.tf"), re.DOTALL)
    where = re.findall(r"^(\w+)=\$\{", said("host/first-start.sh.tftpl"), re.MULTILINE)
    assert asked and asked <= {*re.findall(r"(\w+) +=", settings), *where, *roll.VARIABLES.values()}


def test_of_the_servers_settings_none_is_passed_over_for_what_compose_says_of_it() -> None:
    """It is refused, or it is what Compose hands on."""
    overlay = (ROOT / "docker-compose.production.yml").read_text(encoding="utf-8").split("  frontend:")[0]
    says = dict(re.findall(r"^      (NINEFOLD_\w+): (\S+)", overlay, re.MULTILINE))
    (settings,) = re.findall(r"  settings = {\n(.+?)\n  }", said("host.tf"), re.DOTALL)
    open_to_all = {name for name, value in says.items() if value.startswith(f"${{{name}:-")}
    handed_on = open_to_all - set(re.findall(r"(\w+) +=", settings))
    lists = r"contains\(\[(.+?)\], name\)", r"setintersection\(keys\(var.backend_settings\), \[(.+?)\]"
    found = [re.findall(pattern, said("host.tf") + said("variables.tf"), re.DOTALL) for pattern in lists]
    assert [sorted(re.findall(r'"(\w+)"', text)) for (text,) in found] == [
        sorted(handed_on),
        sorted(set(says) - handed_on),
    ]
    assert handed_on


def test_every_variable_is_documented() -> None:
    table = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    declared = re.findall(r'variable "(\w+)" {(.+?)\n}', said("variables.tf"), re.DOTALL)
    defaults = {name: re.search(r"default\s+= (.+)", body) for name, body in declared}
    assert list(documented) == list(defaults)
    for name, default in defaults.items():
        shown = default[1].strip('"').replace('["', "").replace('"]', "") if default else "–"
        assert documented[name] == (f"`{shown}`" if shown not in ("–", "") else "–"), name
