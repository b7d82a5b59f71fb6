"""The development issuer: signs access tokens for whoever asks, and therefore starts only outside production."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Form
from joserfc import jwt
from joserfc.jwk import ECKey

LIFETIME_SECONDS = 600
ALGORITHM = "ES256"


def app() -> FastAPI:
    """Discovery, keys and tokens at the address `LIANDONG_ISSUER`; the key is kept in `LIANDONG_ISSUER_KEY`."""
    if os.environ.get("LIANDONG_ENV", "production") == "production":
        raise SystemExit("The development issuer does not start in production: use your identity provider.")
    issuer, key = os.environ["LIANDONG_ISSUER"], _key(Path(os.environ["LIANDONG_ISSUER_KEY"]))
    door = FastAPI(title="Development issuer", docs_url=None, redoc_url=None)

    @door.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {"issuer": issuer}

    @door.get("/.well-known/openid-configuration")
    async def discovery() -> dict[str, object]:
        return {"issuer": issuer, "jwks_uri": f"{issuer}/jwks", "token_endpoint": f"{issuer}/token"}

    @door.get("/jwks")
    async def jwks() -> dict[str, object]:
        return {"keys": [key.as_dict(private=False)]}

    @door.post("/token")
    async def token(
        sub: Annotated[str, Form()],
        roles: Annotated[str, Form()],
        regions: Annotated[str, Form()],
        org: Annotated[str, Form()] = "",
    ) -> dict[str, object]:
        now = int(time.time())
        claims = {
            "iss": issuer, "aud": "liandong", "sub": sub, "iat": now, "nbf": now, "exp": now + LIFETIME_SECONDS,
            "jti": str(uuid.uuid4()), "roles": roles.split(), "regions": regions.split(), "org": org,
        }  # fmt: skip
        header = {"alg": ALGORITHM, "typ": "at+jwt", "kid": key.kid}
        signed = jwt.encode(header, claims, key, algorithms=[ALGORITHM])
        return {"access_token": signed, "token_type": "Bearer", "expires_in": LIFETIME_SECONDS}

    return door


def _key(path: Path) -> ECKey:
    if path.exists():
        return ECKey.import_key(path.read_bytes(), {"kid": "development", "use": "sig", "alg": ALGORITHM})
    key = ECKey.generate_key("P-256", {"kid": "development", "use": "sig", "alg": ALGORITHM})
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(key.as_pem(private=True))
    return key
