"""Stock gRPC tools against a real daemon over TCP, without our wrapper: what other languages will meet."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from vecgrid.v1 import vecgrid_pb2 as pb
from vecgrid.v1 import vecgrid_pb2_grpc as rpc

from .conftest import Daemon, Filled


@pytest.fixture
def channel(daemon: Daemon) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(daemon.tcp) as channel:
        yield channel


def test_the_generated_stub(channel: grpc.Channel, filled: Filled) -> None:
    stub = rpc.VecGridStub(channel)
    query = pb.Vector(values=filled.vectors[3].tolist())
    answer = stub.Search(pb.SearchRequest(collection=filled.name, vector=query, k=1, exact=True), timeout=10)
    assert answer.hits[0].id == "row 3"
    with pytest.raises(grpc.RpcError) as raised:
        stub.Search(pb.SearchRequest(collection=filled.name, vector=query), timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = next(v for k, v in raised.value.trailing_metadata() if k == "grpc-status-details-bin")
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(details).details)
    assert (info.reason, info.domain, info.metadata["outcome"]) == ("invalid_k", "vecgrid", "failed")


def test_the_streams_answer_in_order_and_survive_a_failure(
    channel: grpc.Channel, filled: Filled, empty: str
) -> None:
    stub = rpc.VecGridStub(channel)
    queries = [pb.Vector(data=row.tobytes()) for row in filled.vectors[:50]]
    requests = [
        pb.SearchRequest(collection=filled.name, vector=q, k=int(i != 20), exact=True)
        for i, q in enumerate(queries)
    ]
    answers = list(stub.SearchStream(iter(requests), timeout=30))
    assert answers[20].failure.code == "invalid_k"
    del answers[20]
    assert [a.response.hits[0].id for a in answers] == [f"row {i}" for i in range(50) if i != 20]

    def upsert(id: str) -> pb.UpsertRequest:
        return pb.UpsertRequest(
            collection=empty, entries=[pb.Entry(id=id, vector=pb.Vector(values=[1, 0, 0]))]
        )

    stored = list(stub.UpsertStream(iter([upsert("a"), upsert(""), upsert("b")]), timeout=30))
    assert [answer.failure.code for answer in stored] == ["", "invalid_id", ""]
    assert stub.Count(pb.CountRequest(collection=empty), timeout=10).count == 2


def test_reflection_lists_and_describes_the_service(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "vecgrid.v1.VecGrid" in database.get_services()
    service = DescriptorPool(database).FindServiceByName("vecgrid.v1.VecGrid")
    assert set(service.methods_by_name) == set(pb.DESCRIPTOR.services_by_name["VecGrid"].methods_by_name)


@pytest.mark.parametrize("service", ["", "vecgrid.v1.VecGrid"])
def test_health(channel: grpc.Channel, service: str) -> None:
    answer = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service=service), timeout=10
    )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/vecgrid.v1.VecGrid/NoSuchVerb")(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_stock_client_over_the_socket_needs_an_authority(daemon: Daemon) -> None:
    with grpc.insecure_channel(
        f"unix:{daemon.socket}", options=[("grpc.default_authority", "localhost")]
    ) as channel:
        assert rpc.VecGridStub(channel).GridStatus(pb.GridStatusRequest(), timeout=10).member
