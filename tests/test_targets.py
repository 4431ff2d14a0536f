"""The descriptors of routers, firmware and computers, the table made of them, and the OpenWrt recipe."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from firmware_targets import contents, installer, targets
from firmware_targets.table import table

ROOT = Path(__file__).parent.parent
RECIPE = ROOT / "firmware_targets" / "openwrt"
# Feed packages of each branch (targets reference 2.1 and 2.2); master has no python3-email of its own.
OPKG_BRANCHES = ("21.02", "22.03", "23.05", "24.10")
APK_BRANCHES = ("25.12", "master")


@pytest.fixture
def good():
    """Return a descriptor without fault, to be spoiled."""
    return next(target for target in targets.load() if target.ident == "glinet/mt3000")


def complaints(target):
    return " | ".join([*targets._schema(target), *targets._sense(target)])


def spoiled(target, **changes):
    values = {**target.values, **{key.replace("__", "."): value for key, value in changes.items()}}
    return target._replace(values={key: value for key, value in values.items() if value is not None})


def test_every_descriptor_keeps_to_the_schema():
    assert targets.problems() == []


def test_all_the_targets_of_the_user_are_described():
    idents = {target.ident for target in targets.load()}
    assert {f"openwrt/{branch}" for branch in (*OPKG_BRANCHES, *APK_BRANCHES)} <= idents
    assert {"raspberrypi/bookworm", "raspberrypi/trixie", "debian/debian"} <= idents
    assert len([ident for ident in idents if ident.startswith("glinet/")]) >= 20


def test_a_model_takes_from_its_base_what_it_does_not_state(good):
    assert good.get("software.package_manager") == "opkg"
    assert good.python == (3, 9, 18)
    assert good.get("target.name") == "GL.iNet GL-MT3000 Beryl AX"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"software__init": "upstart"}, "software.init = 'upstart' is not"),
        ({"software__colour": "blue"}, "there is no key software.colour"),
        ({"hardware__ram_mb": None}, "hardware.ram_mb is missing"),
        ({"software__python": "3.8"}, "Python 3.8 is older than 3.9"),
        ({"hardware__flash_mb": "16"}, "16 MB of flash have to hold"),
        ({"verdict__runs": "tight"}, "needs verdict.advice"),
        ({"packages__core": "python3-light"}, "packages.core differs from Depends"),
        ({"packages__rs485": "python3-cgi"}, "packages.rs485 differs"),
        (
            {"software__package_manager": "apk", "packages__core": "python3-xml"},
            "the installer does not ask for: python3-xml",
        ),
    ],
)
def test_a_wrong_descriptor_is_named(good, change, text):
    assert complaints(good) == ""
    assert text in complaints(spoiled(good, **change))


def test_a_base_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "glinet").mkdir()
    (tmp_path / "glinet" / "x.ini").write_text("[target]\nbase = openwrt/1.0\n")
    monkeypatch.setattr(targets, "HERE", tmp_path)
    with pytest.raises(targets.TargetError, match="openwrt/1.0"):
        targets.load()


def test_models_with_16_mb_of_nor_are_refused():
    small = [target for target in targets.load() if target.get("hardware.flash_mb") == "16"]
    assert small and all(target.get("verdict.runs") == "no" for target in small)


@pytest.mark.parametrize("branch", OPKG_BRANCHES)
def test_depends_of_the_ipk_can_be_satisfied_on_every_opkg_branch(branch):
    target = next(target for target in targets.load() if target.ident == f"openwrt/{branch}")
    offered = {word for kind in ("core", "rs485", "mqtt") for word in (target.get(f"packages.{kind}") or "").split()}
    for part in contents.parts().values():
        assert set(part.depends) <= offered


def test_the_recipe_for_apk_branches_does_not_name_the_package_that_master_lacks():
    text = (RECIPE / "Makefile").read_text()
    named = set(re.findall(r"\+(python3-\w+)", text))
    assert "python3-email" not in named
    assert named == {
        *contents.parts()[contents.CORE].depends, *installer.MODULES_RS485.values(), *installer.MODULES_MQTT.values(),
    } - {"python3-email"}


def test_the_table_has_a_row_for_every_target_and_claims_no_trial():
    text = table(targets.load())
    rows = text.splitlines()
    assert len(rows) == 2 + len([target for target in targets.load() if target.kind != "display"])
    assert len({row.count(" | ") for row in rows}) == 1
    assert "tested" not in text.lower()


@pytest.mark.needs("make")
def test_the_recipe_packs_the_staged_files_and_compiles_on_the_router(tmp_path):
    """Only that GNU make reads it as meant: a stand-in takes the place of OpenWrt's build system."""
    (tmp_path / "include").mkdir()
    (tmp_path / "rules.mk").write_text("")
    (tmp_path / "include" / "package.mk").write_text(
        "define BuildPackage\nshow-$(1):\n"
        "\t$$(info VERSION $$(PKG_VERSION))\n\t$$(info INSTALL $$(call Package/$(1)/install,OUT))\n"
        "\t$$(info $$(Package/$(1)))\n\t$$(info $$(Package/$(1)/postinst))\nendef\n"
    )
    done = subprocess.run(
        [
            "make",
            "-C",
            str(RECIPE),
            f"TOPDIR={tmp_path}",
            f"INCLUDE_DIR={tmp_path}/include",
            *(f"show-{name}" for name in contents.parts()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"VERSION {contents.version()}\n" in done.stdout
    for name in contents.parts():
        assert re.search(rf"cp -fpR {ROOT}/build/openwrt/{name}/\. OUT/", done.stdout)
        assert f"bytecode compile {name}\n" in done.stdout
    assert done.stdout.count("PKGARCH:=all") == len(contents.parts())
