"""What the webhooks of a test key's batch report: its events, its rows, and that it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from adapters.contract.batch_rules import BatchWebhook, JobEvent
from adapters.contract.jobs import Job, JobRow, JobRows
from adapters.contract.operations import RowsOperation
from adapters.contract.streaming import render_body
from adapters.contract.wire import WireReply
from gateway.sandbox.batch import SandboxBatch, rules_of


class BatchReader(Protocol):
    """The batches as a report reads them (`gateway.sandbox.jobs`)."""

    def is_complete(self, batch: SandboxBatch) -> bool: ...

    def job_now(self, batch: SandboxBatch, word: str, base_url: str) -> Job: ...

    def row_at(self, batch: SandboxBatch, position: int) -> JobRow: ...

    def select_rows(self, batch: SandboxBatch, job: Job, op: RowsOperation) -> JobRows: ...


@dataclass(frozen=True, slots=True)
class Report:
    """A batch as one webhook reports it: an event, a row, or that it is done."""

    batches: BatchReader
    batch: SandboxBatch
    webhook: BatchWebhook
    name: str = ""
    """Of the event."""
    position: int | None = None
    """Of the row."""
    waits: bool = True
    """Whether it waits for the end of the batch."""
    job: Job | None = None
    """The batch as it was, if it is deleted meanwhile."""

    @property
    def is_removed(self) -> bool:
        return self.job is None and self.batch.removed

    @property
    def is_due(self) -> bool:
        return not self.waits or self.batches.is_complete(self.batch)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.webhook.headers(self._job)

    @property
    def _job(self) -> Job:
        return self.job or self.batches.job_now(self.batch, "", self.batch.base_url)

    async def read_body(self) -> bytes:
        job = self._job
        if self.position is not None:
            assert self.webhook.write_row is not None
            return self.webhook.write_row(job, self.batches.row_at(self.batch, self.position))
        if self.name:
            assert self.webhook.write_event is not None
            return self.webhook.write_event(self.name, job)
        assert self.webhook.write_body is not None
        op = self.webhook.build_operation(self.batch.id)
        reply = self.webhook.write_body(op, self.batches.select_rows(self.batch, job, op))
        if isinstance(reply, WireReply):
            return reply.body
        return b"".join([chunk async for chunk in render_body(reply)])


def report_event(
    batches: BatchReader, batch: SandboxBatch, event: JobEvent, job: Job | None = None
) -> Iterator[Report]:
    """The reports of an event; `job` is the batch as it was, if it is deleted now."""
    webhook = rules_of(batch.dialect).webhook
    if webhook is None or not batch.webhook_url:
        return
    if not webhook.reports(event, batch.options):
        return
    waits = event is JobEvent.COMPLETED
    for name in webhook.events.get(event, ()):
        yield Report(batches, batch, webhook, name=name, waits=waits, job=job)


def report_work(batches: BatchReader, batch: SandboxBatch) -> Iterator[Report]:
    """The reports from the start of a batch to its end."""
    yield from report_event(batches, batch, JobEvent.STARTED)
    webhook = rules_of(batch.dialect).webhook
    if webhook is None or not batch.webhook_url:
        return
    if webhook.write_row is not None:
        for position in range(len(batch.rows)):
            yield Report(batches, batch, webhook, position=position)
    yield from report_event(batches, batch, JobEvent.COMPLETED)
    if webhook.write_body is not None:
        yield Report(batches, batch, webhook)
