"""Which services this checkout holds, and who gets a database."""

from __future__ import annotations

from deploy.local.children import PROJECT


def service_packages() -> tuple[str, ...]:
    """The services of this checkout: every package below `services/` that has a `main.py`."""
    return tuple(sorted(main.parent.name for main in (PROJECT / "services").glob("*/main.py")))


def database_users() -> tuple[str, ...]:
    """Who gets a database and a user of its own: every service, and every publisher that has a contract already."""
    from shared.contracts import PUBLISHERS  # noqa: PLC0415 - every contract is loaded with it, and few who ask need that

    return tuple(sorted({*service_packages(), *(name.replace("-", "_") for name in PUBLISHERS)}))
