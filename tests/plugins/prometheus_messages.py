"""The messages of Prometheus' protobuf format as the protobuf library reads them.

The fields are those of github.com/prometheus/client_model, io/prometheus/client/metrics.proto (v0.6), as far as an
exporter may use them. Reading is strict: a field that is not there is an error.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet

_PACKAGE = "io.prometheus.client"
_PROTO = """
LabelPair: string name 1, string value 2
Gauge: double value 1
Counter: double value 1, Exemplar exemplar 2, Timestamp created_timestamp 3
Histogram: uint64 sample_count 1, double sample_count_float 4, double sample_sum 2, Bucket* bucket 3,
  Timestamp created_timestamp 15, sint32 schema 5, double zero_threshold 6, uint64 zero_count 7,
  double zero_count_float 8, BucketSpan* negative_span 9, sint64* negative_delta 10, double* negative_count 11,
  BucketSpan* positive_span 12, sint64* positive_delta 13, double* positive_count 14, Exemplar* exemplars 16
Bucket: uint64 cumulative_count 1, double cumulative_count_float 4, double upper_bound 2, Exemplar exemplar 3
BucketSpan: sint32 offset 1, uint32 length 2
Exemplar: LabelPair* label 1, double value 2, Timestamp timestamp 3
Timestamp: int64 seconds 1, int32 nanos 2
Metric: LabelPair* label 1, Gauge gauge 2, Counter counter 3, Histogram histogram 7, int64 timestamp_ms 6
MetricFamily: string name 1, string help 2, MetricType type 3, Metric* metric 4, string unit 5
"""
_TYPES = ("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM", "GAUGE_HISTOGRAM")


def _file() -> descriptor_pb2.FileDescriptorProto:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package=_PACKAGE, syntax="proto2")
    file.enum_type.add(name="MetricType")
    for number, name in enumerate(_TYPES):
        file.enum_type[0].value.add(name=name, number=number)
    for line in _PROTO.replace(",\n ", ",").strip().splitlines():
        message, fields = line.split(":")
        made = file.message_type.add(name=message)
        for text in fields.split(","):
            kind, name, number = text.split()
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            field = made.field.add(name=name, number=int(number), label=label)
            if kind == "MetricType":
                field.type, field.type_name = kinds.TYPE_ENUM, f".{_PACKAGE}.{kind}"
            elif kind[0].isupper():
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())
_FAMILY = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.MetricFamily"))


def read(page: bytes) -> list[Any]:
    """The families of a page, each of which stands after its length."""
    found = []
    while page:
        length = shift = 0
        while True:
            byte, page = page[0], page[1:]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        assert length <= len(page), "the page ends before its last family does"
        family = _FAMILY()
        family.ParseFromString(page[:length])
        _known(family)
        found.append(family)
        page = page[length:]
    return found


def type_of(family: Any) -> str:
    """Its kind, in the format's word."""
    return _TYPES[family.type]


def native_buckets(histogram: Any) -> dict[int, int]:
    """The counts of a native histogram's positive buckets by their index."""
    found: dict[int, int] = {}
    index, count, deltas = 0, 0, iter(histogram.positive_delta)
    for span in histogram.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            found[index] = count
            index += 1
    assert list(deltas) == [], "there are more counts than the spans have room for"
    return found


def _known(message: Any) -> None:
    assert len(UnknownFieldSet(message)) == 0, f"{message.DESCRIPTOR.name} has a field that it cannot have"
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if hasattr(value, "ListFields") else value:
                _known(each)
