"""The one place that knows another service's stub: rows of datasets come from leads."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc

from breakwater.chassis import wire
from breakwater.chassis.channels import Channel
from breakwater.chassis.identity import Actor
from breakwater.leads.v1.leads_pb2 import LeadFilter, StreamDatasetRequest, StreamDatasetResponse
from services.files.documents.domain import LETTER_COLUMNS
from services.files.exports.domain import RENEWALS, Format, Progress, Spec

_STREAM_DATASET = "/breakwater.leads.v1.LeadsService/StreamDataset"


class LeadsRows:
    """Datasets of leads. The chunks are serialised StreamDatasetResponse messages, whose rows only the encoder reads."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        # Without a deserialiser: rows pass through this process as bytes and are parsed where they are encoded.
        self._stream: grpc.aio.UnaryStreamMultiCallable[StreamDatasetRequest, bytes] = channel.grpc.unary_stream(
            _STREAM_DATASET, request_serializer=StreamDatasetRequest.SerializeToString, response_deserializer=None
        )

    async def chunks(self, actor: Actor, spec: Spec, progress: Progress) -> AsyncGenerator[bytes, None]:
        """One consistent snapshot within the actor's scope. Raises the channel's errors."""
        renewals = spec.dataset == RENEWALS
        request = StreamDatasetRequest(
            actor=wire.actor_to(actor),
            dataset="customers" if renewals else spec.dataset,
            fields=LETTER_COLUMNS if renewals else spec.fields,
            filter=LeadFilter(**spec.filter),
            # A page has no room for all columns of a dataset: who wants others names them.
            base_fields_only=spec.format == Format.PDF and not renewals and not spec.fields,
            packed=True,
        )
        async with aclosing(self._channel.stream(self._stream, request)) as messages:
            async for message in messages:
                if not progress.rows_total:
                    progress.rows_total = StreamDatasetResponse.FromString(message).rows_total
                yield message
