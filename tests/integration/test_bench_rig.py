"""How scripts/bench-rig reads the lines that the emulated machine prints, and what scripts that measure have in common. Needs
neither the machine nor KVM."""
import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from harness import figures
from harness.build import SCRIPTS


def load_script(name: str):
    """Imports a Python script of scripts/."""
    sys.dont_write_bytecode = True  # no __pycache__ in scripts/
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(SCRIPTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


bench_rig = load_script("bench-rig")

ROUND = """side pinfold 1
shell 10.00 12.50
bench getppid: 2000 1000..9000 ns, 500 400..900 ticks
end pinfold 0
side xen 1
shell 20.25 31.25
bench getppid: 40000 30000..90000 ns, 999 998..9000 ticks
end xen 0
side linux 1
bench getppid: 1000 900..2000 ns, 385 385..400 ticks
end linux 0
"""


def stats(total, interrupted, vcpu_op, mmu_update):
    return {"exits": {"total": total, "interrupted": interrupted, "guest syscall": 0, "other exception": 0, "page fault": 0,
                      "protection fault": 0, "invalid opcode": 0},
            "hypercalls": {"vcpu_op": vcpu_op, "mmu_update": mmu_update}}


def parse(text):
    return bench_rig.parse_sides(text.splitlines())


# -- parsing


def test_medians_and_least_of_each_side():
    times, ticks = parse(ROUND)
    assert times["pinfold", "getppid"] == [(2000, 1000)]
    assert times["linux", "getppid"] == [(1000, 900)]
    assert ticks["xen", "getppid"] == [(999, 998)]


def test_the_shell_is_timed_from_the_start_of_its_program():
    times, ticks = parse(ROUND)
    assert times["pinfold", bench_rig.SHELL] == [(2_500_000_000, 2_500_000_000)]
    assert times["xen", bench_rig.SHELL] == [(11_000_000_000, 11_000_000_000)]
    assert ("xen", bench_rig.SHELL) not in ticks


def test_rounds_add_up():
    times, _ = parse(ROUND + ROUND)
    assert len(times["xen", "getppid"]) == 2


def test_a_side_that_failed_is_told_with_what_it_printed():
    with pytest.raises(bench_rig.Failure, match="(?s)xen did not run.*Panic on CPU 0"):
        parse("side xen 1\n| Panic on CPU 0\nend xen 1\n")


def test_a_round_without_a_figure_is_told():
    times, _ = parse(ROUND + ROUND.replace("bench getppid: 1000", "bench getppid: ?"))
    bench_rig.complete(parse(ROUND)[0], ["getppid"], 1)
    with pytest.raises(bench_rig.Failure, match="linux getppid"):
        bench_rig.complete(times, ["getppid"], 2)


# -- counting


def test_timers_and_what_a_guest_costs_that_runs_nothing_are_left_out():
    each = bench_rig.counts_per_operation(
        {"none": stats(1000, 100, 50, 700), "fork-exit": stats(1000 + 103 * 62 + 7, 105, 52, 700 + 103 * 44)})
    assert each["fork-exit"]["exits"] == 62
    assert each["fork-exit"]["page-table hypercalls, in multicalls or not"] == 44
    assert each[bench_rig.SHELL]["exits"] == 850


def test_an_earlier_build_is_one_more_side():
    sides = bench_rig.sides(SimpleNamespace(before="older"))
    assert bench_rig.sides(SimpleNamespace(before=None)) == bench_rig.SIDES
    assert set(sides) == {"before", "pinfold", "xen", "linux"}
    times, _ = parse(ROUND)
    with pytest.raises(bench_rig.Failure, match="before getppid"):
        bench_rig.complete(times, ["getppid"], 1, sides)
    times, ticks = parse(ROUND + ROUND.split("side xen")[0].replace("pinfold", "before").replace(" 500 ", " 2000 "))
    made = {**bench_rig.row("getppid", times, ticks, 2, sides), "before_exits": 8}
    assert "| getppid | 2 | 8 | 0.25 | 500 | 2,000 | 0.25 |" in bench_rig.before_table([made])
    assert "| boot | 2 | 8 | 0.25 |  |  |  |" in bench_rig.before_table([{"name": "boot", "exits": 2, "before_exits": 8}])


# -- tables


@pytest.fixture
def row():
    times, ticks = parse(ROUND + ROUND.replace("2000 1000", "4000 800") + ROUND.replace("2000 1000", "9000 1000"))
    return bench_rig.row("getppid", times, ticks, 0.004)


def test_a_row_has_the_median_of_the_rounds_and_the_least_of_all(row):
    assert (row["pinfold_us"], row["pinfold_least_us"]) == (4, 0.8)
    assert (row["xen_us"], row["linux_us"], row["exits"]) == (40, 1, 0)
    assert (row["pinfold_instructions"], row["xen_instructions"]) == (500, 999)
    json.dumps(row)


def test_ratios_are_pinfolds_to_the_others(row):
    assert ("| getppid | 4.0 µs (0.8) | 40.0 µs (30.0) | 1.0 µs (0.9) | 0.10 | 0.03 | 4.00 | met |"
            in bench_rig.times_table([row]))
    assert "| getppid | 500 | 999 | 385 | 0.50 | 1.30 |" in bench_rig.instructions_table([row])


def test_long_times_are_in_long_units(row):
    long = {key: value * 1_000_000 if key.endswith("_us") else value for key, value in row.items()}
    assert "| 4.0 s (0.8) | 40.0 s (30.0) | 1.0 s (0.9) |" in bench_rig.times_table([long])


def test_a_row_without_instructions_is_not_in_their_table():
    assert "shell" not in bench_rig.instructions_table([{"name": "shell", "pinfold_us": 1}])


def test_the_page_has_instructions_only_where_they_were_counted(row):
    exits = {"getppid": {"exits": 0.0}, bench_rig.SHELL: {"exits": 5}}
    result = {"rows": [row], "exits_by_kind": exits, "rounds": 3, "load": [1, 2], "processors": 2,
              "packages": ["kernel 6.1", "xen 4.17"]}
    assert "| instructions per operation |" in bench_rig.markdown(result)
    del row["pinfold_instructions"]
    assert "instructions" not in bench_rig.markdown(result)
    assert "kernel 6.1, xen 4.17." in bench_rig.markdown(result)
    assert "the build before" not in bench_rig.markdown(result)
    row["before_exits"] = 3
    assert "the build before" in bench_rig.markdown(result)


def test_a_load_that_hides_a_difference_in_the_medians_does_not_meet_the_goal(row):
    loaded = {**row, "xen_least_us": 0.2}
    assert "| 0.10 | 4.00 | 4.00 | **missed** |" in bench_rig.times_table([loaded])


def test_less_than_nothing_is_nothing():
    assert "| x | 0.00 |" in bench_rig.exits_table({"x": {"exits": -0.001}, bench_rig.SHELL: {"exits": 5}})


@pytest.mark.parametrize("ratio, verdict", [
    (0.4, "met"), (0.6, "met, within noise"), (1, "met, within noise"), (1.5, "missed, within noise"), (2, "**missed**"),
    (3, "**missed**")])
def test_less_than_a_factor_of_two_is_noise(ratio, verdict):
    assert bench_rig.verdict(ratio) == verdict


def test_tables_go_between_their_markers_and_nowhere_else(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("a\n<!-- one -->\nold\n<!-- end of one -->\nb\n")
    figures.update("one", figures.table(["what", "count"], [["x", 1]]), document)
    assert document.read_text() == ("a\n<!-- one -->\n\n| what | count |\n| --- | ---: |\n| x | 1 |\n\n<!-- end of one -->\nb\n")
    with pytest.raises(figures.Failure, match="lacks the markers"):
        figures.update("two", "new", document)
    assert "new" not in document.read_text()


def test_what_a_command_prints_comes_before_its_failure() -> None:
    lines = figures.lines_of(["sh", "-c", "echo first; exit 3"])
    assert next(lines) == "first"
    with pytest.raises(figures.Failure, match="sh ended with 3"):
        next(lines)
