"""Hears other services: one batch subscriber per process, one transaction per partition and batch (rules 13 to 20).

The position of a partition is a document of our own database and moves in the transaction that applies the batch, so a
fact is applied exactly once whatever Kafka redelivers, and however often a member dies or comes back late.

`subscriber` joins the group and cuts batches, `ownership` claims partitions, `application` applies a batch, `backfill`
lets a newly heard type catch up, `liveness` says when something does not move.
"""

from shared.log.consumer.application import Reactions
from shared.log.consumer.subscriber import Consumer

__all__ = ["Consumer", "Reactions"]
