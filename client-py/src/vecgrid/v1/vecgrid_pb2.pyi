from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Metric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_UNSPECIFIED: _ClassVar[Metric]
    METRIC_COSINE: _ClassVar[Metric]
    METRIC_EUCLIDEAN: _ClassVar[Metric]
    METRIC_DOT: _ClassVar[Metric]

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_SYNC: _ClassVar[Durability]
    DURABILITY_INTERVAL: _ClassVar[Durability]
    DURABILITY_NONE: _ClassVar[Durability]
METRIC_UNSPECIFIED: Metric
METRIC_COSINE: Metric
METRIC_EUCLIDEAN: Metric
METRIC_DOT: Metric
DURABILITY_UNSPECIFIED: Durability
DURABILITY_SYNC: Durability
DURABILITY_INTERVAL: Durability
DURABILITY_NONE: Durability

class Vector(_message.Message):
    __slots__ = ("data", "values")
    DATA_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, data: _Optional[bytes] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...

class IndexOptions(_message.Message):
    __slots__ = ("engine", "m", "ef_construction", "ef", "target_recall", "vectors", "quantization")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    M_FIELD_NUMBER: _ClassVar[int]
    EF_CONSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    EF_FIELD_NUMBER: _ClassVar[int]
    TARGET_RECALL_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    QUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    engine: str
    m: int
    ef_construction: int
    ef: int
    target_recall: float
    vectors: str
    quantization: str
    def __init__(self, engine: _Optional[str] = ..., m: _Optional[int] = ..., ef_construction: _Optional[int] = ..., ef: _Optional[int] = ..., target_recall: _Optional[float] = ..., vectors: _Optional[str] = ..., quantization: _Optional[str] = ...) -> None: ...

class CollectionConfig(_message.Message):
    __slots__ = ("name", "dimension", "metric", "index", "durability")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    dimension: int
    metric: Metric
    index: IndexOptions
    durability: Durability
    def __init__(self, name: _Optional[str] = ..., dimension: _Optional[int] = ..., metric: _Optional[_Union[Metric, str]] = ..., index: _Optional[_Union[IndexOptions, _Mapping]] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class CollectionInfo(_message.Message):
    __slots__ = ("config", "count", "indexed", "index_bytes", "search_ef", "calibrated_rows")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    INDEXED_FIELD_NUMBER: _ClassVar[int]
    INDEX_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEARCH_EF_FIELD_NUMBER: _ClassVar[int]
    CALIBRATED_ROWS_FIELD_NUMBER: _ClassVar[int]
    config: CollectionConfig
    count: int
    indexed: int
    index_bytes: int
    search_ef: int
    calibrated_rows: int
    def __init__(self, config: _Optional[_Union[CollectionConfig, _Mapping]] = ..., count: _Optional[int] = ..., indexed: _Optional[int] = ..., index_bytes: _Optional[int] = ..., search_ef: _Optional[int] = ..., calibrated_rows: _Optional[int] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: CollectionConfig
    def __init__(self, config: _Optional[_Union[CollectionConfig, _Mapping]] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    __slots__ = ("config", "created")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    config: CollectionConfig
    created: bool
    def __init__(self, config: _Optional[_Union[CollectionConfig, _Mapping]] = ..., created: bool = ...) -> None: ...

class GetCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListCollectionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListCollectionsResponse(_message.Message):
    __slots__ = ("collections",)
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    collections: _containers.RepeatedCompositeFieldContainer[CollectionInfo]
    def __init__(self, collections: _Optional[_Iterable[_Union[CollectionInfo, _Mapping]]] = ...) -> None: ...

class DropCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DropCollectionResponse(_message.Message):
    __slots__ = ("dropped",)
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    dropped: bool
    def __init__(self, dropped: bool = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("epoch", "sequence")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    sequence: int
    def __init__(self, epoch: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("id", "vector", "metadata_json", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    vector: Vector
    metadata_json: str
    version: Version
    def __init__(self, id: _Optional[str] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., metadata_json: _Optional[str] = ..., version: _Optional[_Union[Version, _Mapping]] = ...) -> None: ...

class UpsertRequest(_message.Message):
    __slots__ = ("collection", "entries", "request_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    request_id: str
    def __init__(self, collection: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpsertResponse(_message.Message):
    __slots__ = ("upserted", "errors", "versions", "token")
    UPSERTED_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    upserted: int
    errors: _containers.RepeatedCompositeFieldContainer[EntryError]
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    token: str
    def __init__(self, upserted: _Optional[int] = ..., errors: _Optional[_Iterable[_Union[EntryError, _Mapping]]] = ..., versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ..., token: _Optional[str] = ...) -> None: ...

class EntryError(_message.Message):
    __slots__ = ("index", "id", "code", "message", "outcome")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    code: str
    message: str
    outcome: str
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., outcome: _Optional[str] = ...) -> None: ...

class UpsertStreamResponse(_message.Message):
    __slots__ = ("response", "failure")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    response: UpsertResponse
    failure: Failure
    def __init__(self, response: _Optional[_Union[UpsertResponse, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "outcome", "field", "retry_after_ms", "status")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    outcome: str
    field: str
    retry_after_ms: int
    status: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., outcome: _Optional[str] = ..., field: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., status: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("collection", "id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    id: str
    def __init__(self, collection: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: Entry
    def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("collection", "ids", "filter_json", "request_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    ids: _containers.RepeatedScalarFieldContainer[str]
    filter_json: str
    request_id: str
    def __init__(self, collection: _Optional[str] = ..., ids: _Optional[_Iterable[str]] = ..., filter_json: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("deleted", "token")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    token: str
    def __init__(self, deleted: _Optional[int] = ..., token: _Optional[str] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("collection", "vector", "k", "ef", "filter_json", "exact", "max_distance", "include_metadata", "include_vector", "allow_partial", "explain", "target_recall")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    EF_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_METADATA_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    TARGET_RECALL_FIELD_NUMBER: _ClassVar[int]
    collection: str
    vector: Vector
    k: int
    ef: int
    filter_json: str
    exact: bool
    max_distance: float
    include_metadata: bool
    include_vector: bool
    allow_partial: bool
    explain: bool
    target_recall: float
    def __init__(self, collection: _Optional[str] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., k: _Optional[int] = ..., ef: _Optional[int] = ..., filter_json: _Optional[str] = ..., exact: bool = ..., max_distance: _Optional[float] = ..., include_metadata: bool = ..., include_vector: bool = ..., allow_partial: bool = ..., explain: bool = ..., target_recall: _Optional[float] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("id", "distance", "metadata_json", "vector")
    ID_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    id: str
    distance: float
    metadata_json: str
    vector: Vector
    def __init__(self, id: _Optional[str] = ..., distance: _Optional[float] = ..., metadata_json: _Optional[str] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ...) -> None: ...

class Coverage(_message.Message):
    __slots__ = ("answered", "partitions")
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    answered: int
    partitions: int
    def __init__(self, answered: _Optional[int] = ..., partitions: _Optional[int] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("hits", "coverage", "took_us", "explain")
    HITS_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    TOOK_US_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    coverage: Coverage
    took_us: int
    explain: Explain
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., coverage: _Optional[_Union[Coverage, _Mapping]] = ..., took_us: _Optional[int] = ..., explain: _Optional[_Union[Explain, _Mapping]] = ...) -> None: ...

class Explain(_message.Message):
    __slots__ = ("plan", "ef", "target_recall", "eligible", "filtered", "visited", "estimated", "reranked", "tail", "distances", "steps")
    class Step(_message.Message):
        __slots__ = ("name", "took_ns")
        NAME_FIELD_NUMBER: _ClassVar[int]
        TOOK_NS_FIELD_NUMBER: _ClassVar[int]
        name: str
        took_ns: int
        def __init__(self, name: _Optional[str] = ..., took_ns: _Optional[int] = ...) -> None: ...
    PLAN_FIELD_NUMBER: _ClassVar[int]
    EF_FIELD_NUMBER: _ClassVar[int]
    TARGET_RECALL_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    FILTERED_FIELD_NUMBER: _ClassVar[int]
    VISITED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    RERANKED_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    plan: str
    ef: int
    target_recall: float
    eligible: int
    filtered: int
    visited: int
    estimated: int
    reranked: int
    tail: int
    distances: int
    steps: _containers.RepeatedCompositeFieldContainer[Explain.Step]
    def __init__(self, plan: _Optional[str] = ..., ef: _Optional[int] = ..., target_recall: _Optional[float] = ..., eligible: _Optional[int] = ..., filtered: _Optional[int] = ..., visited: _Optional[int] = ..., estimated: _Optional[int] = ..., reranked: _Optional[int] = ..., tail: _Optional[int] = ..., distances: _Optional[int] = ..., steps: _Optional[_Iterable[_Union[Explain.Step, _Mapping]]] = ...) -> None: ...

class SearchBatchRequest(_message.Message):
    __slots__ = ("searches",)
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    searches: _containers.RepeatedCompositeFieldContainer[SearchRequest]
    def __init__(self, searches: _Optional[_Iterable[_Union[SearchRequest, _Mapping]]] = ...) -> None: ...

class SearchBatchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SearchResponse]
    def __init__(self, results: _Optional[_Iterable[_Union[SearchResponse, _Mapping]]] = ...) -> None: ...

class SearchStreamResponse(_message.Message):
    __slots__ = ("response", "failure")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    response: SearchResponse
    failure: Failure
    def __init__(self, response: _Optional[_Union[SearchResponse, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class NumberedSearch(_message.Message):
    __slots__ = ("number", "timeout_ms", "search")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    number: int
    timeout_ms: int
    search: SearchRequest
    def __init__(self, number: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., search: _Optional[_Union[SearchRequest, _Mapping]] = ...) -> None: ...

class NumberedAnswer(_message.Message):
    __slots__ = ("number", "response", "failure")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    response: SearchResponse
    failure: Failure
    def __init__(self, number: _Optional[int] = ..., response: _Optional[_Union[SearchResponse, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class CountRequest(_message.Message):
    __slots__ = ("collection", "filter_json")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    collection: str
    filter_json: str
    def __init__(self, collection: _Optional[str] = ..., filter_json: _Optional[str] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class ScrollRequest(_message.Message):
    __slots__ = ("collection", "filter_json", "limit", "cursor", "include_vector")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_JSON_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_VECTOR_FIELD_NUMBER: _ClassVar[int]
    collection: str
    filter_json: str
    limit: int
    cursor: str
    include_vector: bool
    def __init__(self, collection: _Optional[str] = ..., filter_json: _Optional[str] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ..., include_vector: bool = ...) -> None: ...

class ScrollResponse(_message.Message):
    __slots__ = ("entries", "cursor")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    cursor: str
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., cursor: _Optional[str] = ...) -> None: ...

class GridStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Member(_message.Message):
    __slots__ = ("id", "name", "state", "version", "address", "zone", "votes", "primaries", "copies", "wanted")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    PRIMARIES_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    state: str
    version: str
    address: str
    zone: str
    votes: bool
    primaries: int
    copies: int
    wanted: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[str] = ..., version: _Optional[str] = ..., address: _Optional[str] = ..., zone: _Optional[str] = ..., votes: bool = ..., primaries: _Optional[int] = ..., copies: _Optional[int] = ..., wanted: _Optional[int] = ...) -> None: ...

class PartitionStatus(_message.Message):
    __slots__ = ("partition", "epoch", "primary", "in_sync", "state", "sequence", "wanted", "moving")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    MOVING_FIELD_NUMBER: _ClassVar[int]
    partition: int
    epoch: int
    primary: str
    in_sync: _containers.RepeatedScalarFieldContainer[str]
    state: str
    sequence: int
    wanted: _containers.RepeatedScalarFieldContainer[str]
    moving: bool
    def __init__(self, partition: _Optional[int] = ..., epoch: _Optional[int] = ..., primary: _Optional[str] = ..., in_sync: _Optional[_Iterable[str]] = ..., state: _Optional[str] = ..., sequence: _Optional[int] = ..., wanted: _Optional[_Iterable[str]] = ..., moving: bool = ...) -> None: ...

class GridStatusResponse(_message.Message):
    __slots__ = ("grid", "member", "table_version", "members", "partitions", "leader", "term", "grid_id", "backups", "min_in_sync", "under_replicated")
    GRID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    TABLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    GRID_ID_FIELD_NUMBER: _ClassVar[int]
    BACKUPS_FIELD_NUMBER: _ClassVar[int]
    MIN_IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    UNDER_REPLICATED_FIELD_NUMBER: _ClassVar[int]
    grid: str
    member: str
    table_version: int
    members: _containers.RepeatedCompositeFieldContainer[Member]
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionStatus]
    leader: str
    term: int
    grid_id: str
    backups: int
    min_in_sync: int
    under_replicated: int
    def __init__(self, grid: _Optional[str] = ..., member: _Optional[str] = ..., table_version: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., partitions: _Optional[_Iterable[_Union[PartitionStatus, _Mapping]]] = ..., leader: _Optional[str] = ..., term: _Optional[int] = ..., grid_id: _Optional[str] = ..., backups: _Optional[int] = ..., min_in_sync: _Optional[int] = ..., under_replicated: _Optional[int] = ...) -> None: ...

class KeepCopiesRequest(_message.Message):
    __slots__ = ("backups", "min_in_sync")
    BACKUPS_FIELD_NUMBER: _ClassVar[int]
    MIN_IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    backups: int
    min_in_sync: int
    def __init__(self, backups: _Optional[int] = ..., min_in_sync: _Optional[int] = ...) -> None: ...

class KeepCopiesResponse(_message.Message):
    __slots__ = ("backups", "min_in_sync", "under_replicated")
    BACKUPS_FIELD_NUMBER: _ClassVar[int]
    MIN_IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    UNDER_REPLICATED_FIELD_NUMBER: _ClassVar[int]
    backups: int
    min_in_sync: int
    under_replicated: int
    def __init__(self, backups: _Optional[int] = ..., min_in_sync: _Optional[int] = ..., under_replicated: _Optional[int] = ...) -> None: ...

class MovesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Move(_message.Message):
    __slots__ = ("partition", "source", "target", "stage", "sent_bytes", "total_bytes", "bytes_per_second", "seconds_left")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    partition: int
    source: str
    target: str
    stage: str
    sent_bytes: int
    total_bytes: int
    bytes_per_second: int
    seconds_left: float
    def __init__(self, partition: _Optional[int] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., stage: _Optional[str] = ..., sent_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ..., bytes_per_second: _Optional[int] = ..., seconds_left: _Optional[float] = ...) -> None: ...

class MovesResponse(_message.Message):
    __slots__ = ("moves", "unanswered")
    MOVES_FIELD_NUMBER: _ClassVar[int]
    UNANSWERED_FIELD_NUMBER: _ClassVar[int]
    moves: _containers.RepeatedCompositeFieldContainer[Move]
    unanswered: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, moves: _Optional[_Iterable[_Union[Move, _Mapping]]] = ..., unanswered: _Optional[_Iterable[str]] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("cancel",)
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    cancel: bool
    def __init__(self, cancel: bool = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("draining", "partitions_left")
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_LEFT_FIELD_NUMBER: _ClassVar[int]
    draining: bool
    partitions_left: int
    def __init__(self, draining: bool = ..., partitions_left: _Optional[int] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("partition",)
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    def __init__(self, partition: _Optional[int] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("partition", "verdict", "copies")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    partition: int
    verdict: str
    copies: _containers.RepeatedCompositeFieldContainer[CopyVerdict]
    def __init__(self, partition: _Optional[int] = ..., verdict: _Optional[str] = ..., copies: _Optional[_Iterable[_Union[CopyVerdict, _Mapping]]] = ...) -> None: ...

class CopyVerdict(_message.Message):
    __slots__ = ("member", "rows", "version", "differences", "unverified")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    UNVERIFIED_FIELD_NUMBER: _ClassVar[int]
    member: str
    rows: int
    version: str
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    unverified: str
    def __init__(self, member: _Optional[str] = ..., rows: _Optional[int] = ..., version: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ..., unverified: _Optional[str] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("what", "collection", "rows", "ids")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    what: str
    collection: str
    rows: int
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, what: _Optional[str] = ..., collection: _Optional[str] = ..., rows: _Optional[int] = ..., ids: _Optional[_Iterable[str]] = ...) -> None: ...
