"""Runs a body in a MongoDB transaction and retries what may be retried (rule 22).

motor's own `with_transaction` never retries the commit, so an answer lost on the network would look like a failure.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from aiokafka.errors import KafkaError
from pymongo.errors import BulkWriteError, ConnectionFailure, PyMongoError, WriteError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

T = TypeVar("T")

_WRITE_CONFLICT = 112
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.5
_SNAPSHOT = ReadConcern("snapshot")
_MAJORITY = WriteConcern("majority", j=True)


class OutcomeUnknown(Exception):
    """The commit was sent and no answer came within the deadline: it may or may not have been applied."""


TRANSIENT = (PyMongoError, KafkaError, OSError, TimeoutError, OutcomeUnknown)
"""The closed list of rule 20: driver, broker, input and output, time. `is_transient` takes out what data causes."""


def is_transient(error: BaseException) -> bool:
    """Whether trying again can help: true of the closed list, but not of a write that the store refuses by itself."""
    if isinstance(error, BulkWriteError):
        faults = error.details.get("writeErrors", ())
        return all(fault.get("code") == _WRITE_CONFLICT for fault in faults)
    if isinstance(error, WriteError):
        return error.has_error_label("TransientTransactionError")
    return isinstance(error, TRANSIENT)


async def run(session: Any, body: Callable[[Any], Awaitable[T]], *, seconds: float = 5.0) -> T:
    """Runs `body(session)` as one transaction, snapshot reads and majority writes.

    The whole body is run again on a transient error, the commit alone when its outcome is unknown; with jitter, for at
    most `seconds`. Every read in the body must be repeatable and nothing outside MongoDB may happen in it. Raises
    OutcomeUnknown when the deadline ends in doubt, else whatever the body or the server raised.
    """
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + seconds, _FIRST_PAUSE_SECONDS
    while True:
        session.start_transaction(read_concern=_SNAPSHOT, write_concern=_MAJORITY)
        try:
            result = await body(session)
        except BaseException as error:
            if session.in_transaction:
                with suppress(PyMongoError):
                    await session.abort_transaction()
            if not (_transient(error) and loop.time() < end):
                raise
        else:
            if await _commit(session, end):
                return result
            if loop.time() >= end:
                raise OutcomeUnknown
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        pause = min(pause * 1.7, _LONGEST_PAUSE_SECONDS)


async def _commit(session: Any, end: float) -> bool:
    """Commits; True when applied, False when the body must run again."""
    loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE_SECONDS
    while True:
        try:
            await session.commit_transaction()
            return True
        except PyMongoError as error:
            unknown = error.has_error_label("UnknownTransactionCommitResult") or isinstance(error, ConnectionFailure)
            if not unknown:
                if _transient(error) and loop.time() < end:
                    return False
                raise
            if loop.time() >= end:
                raise OutcomeUnknown from error
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        pause = min(pause * 1.7, _LONGEST_PAUSE_SECONDS)


def _transient(error: BaseException) -> bool:
    return isinstance(error, PyMongoError) and error.has_error_label("TransientTransactionError")
