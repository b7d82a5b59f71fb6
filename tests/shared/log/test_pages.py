"""Pages and counts of the stores, the same in memory and on MongoDB (rule 10 of the doors: every list pages)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from shared.kernel import NATIONAL, Aggregate, RegionScope
from shared.log.memory import MemoryCollection, MemoryDatabase
from shared.log.store import Documents, Page, Rows

ANHUI = RegionScope(frozenset({"34"}))


class Card(Aggregate):
    score: int | None = None


DOCUMENTS: list[dict[str, Any]] = [
    {"_id": f"c{i}", "version": 1, "at": 1, "schema": 1, "regions": ["340100" if i % 3 else "320500"], "score": score}
    for i, score in enumerate([5, None, 7, 5, 5, None, 1, 9, 5])
]


@pytest_asyncio.fixture(loop_scope="session", params=["memory", "mongo"])
async def stores(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[tuple[Documents[Card], Rows]]:
    if request.param == "memory":
        memory = MemoryDatabase()
        collection: MemoryCollection = memory["cards"]
        collection.documents = {document["_id"]: dict(document) for document in DOCUMENTS}
        yield Documents(memory, "cards", Card), Rows(memory, "cards")
        return
    client = stack.as_user("evaluation")
    name = f"cards_{abs(hash(request.node.name))}"
    await client.evaluation[name].insert_many([dict(document) for document in DOCUMENTS])
    yield Documents(client.evaluation, name, Card), Rows(client.evaluation, name)
    client.close()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", ["", "score"])
@pytest.mark.parametrize("limit", [1, 2, 4, 50])
async def test_pages_in_any_order_hold_everything_once(
    stores: tuple[Documents[Card], Rows], sort: str, descending: bool, limit: int
) -> None:
    documents, rows = stores
    expected = sorted(
        (document for document in DOCUMENTS if document["regions"] == ["340100"]),
        key=lambda document: ((document["score"] or 0) if sort else 0, document["_id"]),
        reverse=descending,
    )
    seen, listed, after, row_after = [], [], None, None
    while True:
        page: Page[Card] = await documents.page(
            ANHUI, {"$or": [{"version": 1}, {"version": 2}]}, after=after, limit=limit, sort=sort, descending=descending
        )
        row_page = await rows.page({}, ANHUI, row_after, limit, sort=sort, descending=descending)
        seen += [card.id for card in page.items]
        listed += [row["_id"] for row in row_page.items]
        after, row_after = page.after, row_page.after
        if after is None:
            break

    assert row_after is None
    assert seen == listed == [document["_id"] for document in expected]


async def test_a_filter_of_the_caller_never_widens_the_scope(stores: tuple[Documents[Card], Rows]) -> None:
    documents, rows = stores
    wide = {"$or": [{"regions": ["320500"]}, {"version": 1}], "regions": {"$ne": "none"}}

    assert {region for card in (await documents.page(ANHUI, wide)).items for region in card.regions} == {"340100"}
    assert await documents.count(ANHUI, wide) == await rows.count(wide, ANHUI) == 6
    assert await documents.count(NATIONAL, wide) == await rows.count(wide) == 9


async def test_many_rows_are_read_in_one_go(stores: tuple[Documents[Card], Rows]) -> None:
    _documents, rows = stores

    found = await rows.find_many(["c3", "c1", "missing", "c1"])

    assert {key: row["_id"] for key, row in found.items()} == {"c1": "c1", "c3": "c3"}
    assert await rows.find_many([]) == {}
