"""Defaults are safe: what is not said is production, and production refuses what is only for development."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.local import sheet
from deploy.local.children import PROJECT
from deploy.local.stack import service_packages

SERVICES = service_packages()


@pytest.fixture
def production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that is complete and says nothing about which one it is."""
    for name in ("mongo_password", "hmac_key", "cursor_key"):
        (tmp_path / name).write_text(f"secret-{name}")
    for key in [key for key in os.environ if key.startswith("LIANDONG_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("LIANDONG_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("LIANDONG_KAFKA", "kafka:9092")
    monkeypatch.setenv("LIANDONG_MONGO", "mongo:27017")
    monkeypatch.setenv("LIANDONG_ISSUER", "https://login.example")
    return tmp_path


@pytest.mark.parametrize("service", SERVICES)
def test_an_environment_that_says_nothing_is_production(production: Path, service: str) -> None:
    settings = import_module(f"services.{service}.settings").Settings()
    assert settings.production
    assert settings.service == service


@pytest.mark.parametrize("service", SERVICES)
def test_production_refuses_an_issuer_without_encryption(
    production: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIANDONG_ISSUER", "http://login.example")
    with pytest.raises(ValidationError, match="issuer must be an https:// address in production"):
        import_module(f"services.{service}.settings").Settings()


@pytest.mark.parametrize("service", SERVICES)
def test_a_secret_in_an_environment_variable_is_refused(
    production: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIANDONG_HMAC_KEY", "visible")
    with pytest.raises(ValidationError, match="hmac_key must be a file"):
        import_module(f"services.{service}.settings").Settings()


@pytest.mark.parametrize("service", SERVICES)
def test_printed_settings_hold_no_secret(production: Path, service: str) -> None:
    settings = import_module(f"services.{service}.settings").Settings()
    shown = f"{settings!r} {settings} {settings.model_dump_json()} {[row.document() for row in sheet.sheet(service)]}"
    assert "secret-" not in shown


def start(module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"import {module} as m; m.app()"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=PROJECT, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
    )  # fmt: skip


@pytest.mark.parametrize("service", SERVICES)
def test_production_does_not_start_with_a_failpoint(production: Path, service: str) -> None:
    done = start(f"services.{service}.main", LIANDONG_FAILPOINTS="commit.after_writes=kill")
    assert done.returncode != 0
    assert "LIANDONG_FAILPOINTS is set in production" in done.stderr


def test_the_development_issuer_does_not_start_in_production(production: Path) -> None:
    done = start("deploy.local.issuer")
    assert done.returncode != 0
    assert "development issuer does not start in production" in done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_says_what_it_means_in_both_languages_and_where_it_comes_from(
    production: Path, service: str
) -> None:
    rows = {row.name: row for row in sheet.sheet(service)}
    assert [name for name, row in rows.items() if " / " not in row.meaning] == []
    assert (rows["kafka"].value, rows["kafka"].source) == ("kafka:9092", "environment")
    assert (rows["hmac_key"].value, rows["hmac_key"].source) == (sheet.HIDDEN, "file")
    assert (rows["log_level"].value, rows["log_level"].source) == ("info", "default")
    (production / "hmac_key").unlink()
    assert {row.name: row.source for row in sheet.sheet(service)}["hmac_key"] == "missing"
