"""Bearer tokens of the OIDC issuer: exact algorithm, issuer, audience and shape, or nobody comes in (RFC 9068)."""

from __future__ import annotations

import asyncio
import re
import time
import unicodedata
from typing import Any

import httpx2
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shared.kernel import Actor, DomainError, RegionScope

_SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_REGION = re.compile(r"\*|\d{2}|\d{4}|\d{6}", re.ASCII)
_BYTES_MAX = 8192
_LEEWAY_SECONDS = 60
_LIFETIME_SECONDS_MAX = 15 * 60
_REFETCH_SECONDS = 10.0


class Unauthenticated(DomainError):
    """There is no token, or it is not one of ours; why exactly is not told."""

    code = "unauthenticated"
    status = 401
    zh = "请先登录:没有令牌,或令牌无效、已过期"
    en = "Sign in first: there is no token, or it is invalid or has expired"


class IssuerUnavailable(DomainError):
    """The issuer's keys cannot be fetched, so no token can be checked."""

    code = "issuer-unavailable"
    status = 503
    zh = "身份服务暂不可用,请稍后再试"
    en = "The identity service is not available: try again later"


class TokenVerifier:
    """Checks tokens against the issuer's published keys, fetched once and again (rarely) for an unknown key id."""

    def __init__(self, *, issuer: str, audience: str, algorithm: str) -> None:
        self.issuer, self.audience, self.algorithm = issuer, audience, algorithm
        self._keys: dict[str, Any] = {}
        self._fetched_at = -_REFETCH_SECONDS
        self._fetching = asyncio.Lock()

    async def actor(self, authorization: str | None) -> Actor:
        """Who the `Authorization` header speaks for; raises Unauthenticated or IssuerUnavailable."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or len(token) > _BYTES_MAX or not _SHAPE.fullmatch(token):
            raise Unauthenticated
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError, KeyError) as error:
            raise Unauthenticated from error
        key = await self._key(header)
        try:
            decoded = jwt.decode(token, key, algorithms=[self.algorithm])
        except (JoseError, ValueError) as error:
            raise Unauthenticated from error
        return self._actor(decoded.claims)

    async def _key(self, header: dict[str, Any]) -> Any:
        allowed = {"alg", "kid", "typ"}
        if header.get("alg") != self.algorithm or header.get("typ") != "at+jwt" or set(header) - allowed:
            raise Unauthenticated
        kid = str(header.get("kid"))
        if kid not in self._keys:
            await self._fetch()
        if kid not in self._keys:
            raise Unauthenticated
        return self._keys[kid]

    async def _fetch(self) -> None:
        async with self._fetching:
            if time.monotonic() - self._fetched_at < _REFETCH_SECONDS:
                return
            try:
                async with httpx2.AsyncClient(timeout=5) as http:
                    answer = (await http.get(f"{self.issuer}/jwks")).raise_for_status()
                keys = KeySet.import_key_set(answer.json()).keys
            except (httpx2.HTTPError, ValueError, JoseError) as error:
                raise IssuerUnavailable from error
            self._keys = {str(key.kid): key for key in keys}
            self._fetched_at = time.monotonic()

    def _actor(self, claims: dict[str, Any]) -> Actor:
        now = time.time()
        try:
            issued, expires = int(claims["iat"]), int(claims["exp"])
            good = (
                claims["iss"] == self.issuer
                and claims["aud"] in (self.audience, [self.audience])
                and issued - _LEEWAY_SECONDS <= now <= expires + _LEEWAY_SECONDS
                and int(claims.get("nbf", issued)) - _LEEWAY_SECONDS <= now
                and 0 < expires - issued <= _LIFETIME_SECONDS_MAX
            )
            roles, regions = frozenset(map(str, claims["roles"])), [str(region) for region in claims["regions"]]
            if not good or not all(_REGION.fullmatch(region) for region in regions):
                raise Unauthenticated
            scope = RegionScope(frozenset(r for r in regions if r != "*"), national="*" in regions)
            return Actor(id=str(claims["sub"]), roles=roles, org=_org(claims), scope=scope)
        except (KeyError, TypeError, ValueError) as error:
            raise Unauthenticated from error


def _org(claims: dict[str, Any]) -> str:
    """The organisation in the form in which parties are registered: who spells it otherwise has a part all the same."""
    return unicodedata.normalize("NFKC", str(claims.get("org") or "")).strip().upper()
