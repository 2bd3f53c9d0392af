"""Resources, sizes and times as the command prints them."""

import pytest

from mesoslite.cli.amounts import (
    bytes_size,
    cores,
    duration,
    json_of_resources,
    number,
    size,
    text_of,
    total_of,
)
from mesoslite.v1 import common_pb2 as pb


def scalar(key: str, milli: int) -> pb.Resource:
    return pb.Resource(key=key, scalar_milli=milli)


def ports(low: int, high: int) -> pb.Resource:
    return pb.Resource(key="ports", ranges=pb.Ranges(ranges=[pb.Range(low=low, high=high)]))


AMOUNTS = [scalar("cpus", 1_500), scalar("mem", 1_024_000), ports(31_000, 31_009)]


def test_resources_are_spelled_as_mesos_does() -> None:
    assert text_of(AMOUNTS) == "cpus:1.5;mem:1024;ports:[31000-31009]"
    assert text_of([]) == "-"


def test_json_of_resources_has_the_spelling_and_the_numbers() -> None:
    names = pb.Resource(key="disks", set=pb.StringSet(items=["b", "a"]))
    assert json_of_resources([*AMOUNTS, names]) == {
        "text": text_of([*AMOUNTS, names]),
        "cpus": 1.5,
        "mem": 1024,
        "ports": [[31_000, 31_009]],
        "disks": ["a", "b"],
    }
    assert json_of_resources([]) == {"text": ""}


def test_whole_numbers_are_ints_in_json() -> None:
    assert number(4_000) == 4
    assert isinstance(number(4_000), int)
    assert number(1) == 0.001


def test_a_total_is_over_all_roles_and_no_other_name() -> None:
    held = [scalar("cpus", 1_000), scalar("cpus(ads)", 500), scalar("cpuset", 7_000)]
    assert total_of(held, "cpus") == 1_500


@pytest.mark.parametrize(
    ("mib_milli", "text"),
    [
        (0, "0 MiB"),
        (32_000, "32 MiB"),
        (1_023_000, "1023 MiB"),
        (1_536_000, "1.5 GiB"),
        (4 * 1_024 * 1_024_000, "4 TiB"),
        (5 * 1_024 * 1_024 * 1_024_000, "5 PiB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(mib_milli: int, text: str) -> None:
    assert size(mib_milli) == text


def test_small_byte_counts_are_told_in_bytes() -> None:
    assert [bytes_size(n) for n in (0, 1_000, 2_048, 3 << 20)] == [
        "0 B",
        "1000 B",
        "2 KiB",
        "3 MiB",
    ]


def test_cores_are_as_short_as_they_can_be() -> None:
    assert [cores(n) for n in (0, 100, 1_000, 66_667)] == ["0", "0.1", "1", "66.667"]


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0.0s"),
        (1_250, "1.2s"),
        (59_999, "59s"),
        (130_000, "2m10s"),
        (3_600_000, "1h00m"),
        (7 * 86_400_000 + 3_600_000, "7d01h"),
    ],
)
def test_durations_have_two_units_at_most(ms: int, text: str) -> None:
    assert duration(ms) == text
