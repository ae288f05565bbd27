from SpinalCordSegLib.flags import Flag, case_flag, kinds_of_slice, merge_flags


def test_merge_keeps_each_kind_once_per_slice_and_sorts_from_inferior() -> None:
    gap, jump = Flag(3, 7, "gap", "a"), Flag(8, 2, "area", "b")
    again = Flag(3, 7, "gap", "c")
    short = case_flag("short_cord", "only 12 mm of cord")
    assert merge_flags([gap, jump], [again, short]) == (short, jump, Flag(3, 7, "gap", "a; c"))


def test_all_that_is_said_of_the_whole_case_stays() -> None:
    parts, blocks = case_flag("cleaned", "2 parts were joined"), case_flag("cleaned", "30 mm³ were removed")
    (merged,) = merge_flags([parts, blocks], [parts])
    assert merged == case_flag("cleaned", "2 parts were joined; 30 mm³ were removed")


def test_kinds_of_slice_and_json_form() -> None:
    flags = [Flag(0, 5, "gap", "a"), Flag(0, 5, "shape", "b"), Flag(1, 4, "gap", "c"), case_flag("empty", "d")]
    assert kinds_of_slice(flags, 5) == ("gap", "shape")
    assert kinds_of_slice(flags, 9) == ()
    assert flags[0].as_dict() == {"slice": 0, "canonical_slice": 5, "kind": "gap", "message": "a"}
