"""The arithmetic of the benchmarks: what they make of stacks and of numbers. Nothing here is timed."""

from benchmarks.profiling import functions_of
from benchmarks.report import table
from benchmarks.results import Better, Metric, Results
from benchmarks.servers import APACHE_KAFKA, KAFSCALE

SPEED = Metric(label="produce", unit="MB/s", better=Better.HIGHER, target=">= 0.5 x")


def test_a_function_is_one_whatever_its_lines() -> None:
    functions, samples = functions_of(
        ["run (a.py:1);read (b.py:10) 3", "run (a.py:2);read (b.py:12) 1", "run (a.py:2) 4"]
    )

    assert samples == 8
    assert [(one.name, one.own, one.total) for one in functions] == [
        ("run (a.py)", 0.5, 1.0),
        ("read (b.py)", 0.5, 0.5),
    ]


def test_a_recursive_function_counts_once_per_sample() -> None:
    functions, _ = functions_of(["walk (a.py:1);walk (a.py:2) 5"])

    assert [(one.name, one.own, one.total) for one in functions] == [("walk (a.py)", 1.0, 1.0)]


def test_the_ratio_compares_round_by_round() -> None:
    results = Results()
    for own, other in ((10.0, 40.0), (90.0, 100.0), (50.0, 100.0)):
        results.add(SPEED, KAFSCALE, own)
        results.add(SPEED, APACHE_KAFKA, other)

    assert results.ratio(SPEED) == (0.5, 0.25, 0.9)
    assert results.spread(SPEED, KAFSCALE) == (50.0, 10.0, 90.0)


def test_a_row_without_the_other_server_has_no_ratio() -> None:
    results = Results()
    results.add(SPEED, KAFSCALE, 12.5)

    heading, _, row = table(results).splitlines()

    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "produce",
        "MB/s",
        "12.5",
        "",
        "",
        "higher",
        ">= 0.5 x",
    ]
    assert len(heading) == len(row)
